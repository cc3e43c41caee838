//! The question before quitting while requests run.

use tokio::sync::mpsc;

/// What a person answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quitting {
    /// Go on.
    No,
    /// When the requests have finished.
    WhenDone,
    /// At once.
    Now,
}

/// Asks in a small window of the desktop's own, and sends the answer. Where there is no such window, the gentle answer is
/// taken: the tray then offers to quit now.
pub fn ask<T: Send + 'static>(
    app: &tauri::AppHandle,
    running: usize,
    answers: mpsc::Sender<T>,
    answer: fn(Quitting) -> T,
) {
    let asked = answers.clone();
    let ask = app.run_on_main_thread(move || dialog(running, asked, answer));
    if ask.is_err() {
        // Full means that enough has been said already.
        let _ = answers.try_send(answer(Quitting::WhenDone));
    }
}

#[cfg(target_os = "linux")]
fn dialog<T: Send + 'static>(running: usize, answers: mpsc::Sender<T>, answer: fn(Quitting) -> T) {
    use gtk::{ButtonsType, DialogFlags, MessageDialog, MessageType, ResponseType, prelude::*};
    let dialog = MessageDialog::new(
        None::<&gtk::Window>,
        DialogFlags::empty(),
        MessageType::Question,
        ButtonsType::None,
        &question(running),
    );
    dialog.set_title("Quit Lamplighter");
    dialog.set_secondary_text(Some("What runs now is cut off when you quit at once."));
    dialog.add_button("_Keep running", ResponseType::Cancel);
    dialog.add_button("Quit when _done", ResponseType::Accept);
    dialog.add_button("Quit _now", ResponseType::Close);
    dialog.set_default_response(ResponseType::Cancel);
    dialog.set_keep_above(true);
    dialog.connect_response(move |dialog, response| {
        let said = match response {
            ResponseType::Accept => Quitting::WhenDone,
            ResponseType::Close => Quitting::Now,
            // Also Escape and the window's own button.
            _ => Quitting::No,
        };
        let _ = answers.try_send(answer(said));
        dialog.close();
    });
    dialog.show_all();
    dialog.present();
}

#[cfg(not(target_os = "linux"))]
fn dialog<T: Send + 'static>(_running: usize, answers: mpsc::Sender<T>, answer: fn(Quitting) -> T) {
    let _ = answers.try_send(answer(Quitting::WhenDone));
}

#[cfg(target_os = "linux")]
fn question(running: usize) -> String {
    match running {
        1 => "1 request is running — quit anyway?".to_owned(),
        _ => format!("{running} requests are running — quit anyway?"),
    }
}
