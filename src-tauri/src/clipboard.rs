//! The desktop's clipboard, without a window.
//!
//! On X11 and Wayland the program that copied serves its text to those that paste, so the connection is kept.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// Longest that the display server may take.
const LIMIT: Duration = Duration::from_secs(2);

/// A connection to the clipboard, made at the first copy.
#[derive(Clone, Default)]
pub struct Clipboard {
    kept: Arc<Mutex<Option<arboard::Clipboard>>>,
}

impl Clipboard {
    /// Puts `text` there.
    ///
    /// # Errors
    /// When the display server refuses, or does not answer in 2 s.
    pub async fn copy(&self, text: String) -> Result<(), String> {
        let this = self.clone();
        let copying = tokio::task::spawn_blocking(move || this.copy_now(text));
        match tokio::time::timeout(LIMIT, copying).await {
            Ok(done) => done.unwrap_or_else(|why| Err(why.to_string())),
            Err(_) => Err("the clipboard does not answer".into()),
        }
    }

    fn copy_now(&self, text: String) -> Result<(), String> {
        let mut kept = self.kept.try_lock().map_err(|_| "an earlier copy still waits")?;
        let mut clipboard = match kept.take() {
            Some(clipboard) => clipboard,
            None => arboard::Clipboard::new().map_err(|why| why.to_string())?,
        };
        // A connection that failed is not kept: the next copy makes another.
        clipboard.set_text(text).map_err(|why| why.to_string())?;
        *kept = Some(clipboard);
        Ok(())
    }

    /// Lets go of it: a clipboard manager, where one runs, then takes the text over.
    pub fn hand_over(self) {
        if let Ok(mut kept) = self.kept.try_lock() {
            *kept = None;
        }
    }
}
