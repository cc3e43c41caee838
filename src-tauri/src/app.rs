//! The desktop's side of the app: the plugins, the handlers, and the main thread, as desktops demand it.

use crate::{
    door::{self, Door},
    house::{House, Wish},
    windows,
};
use lamplighter::{Options, config::fingerprint, control_file::Whose};
use std::process::ExitCode;
use tauri::{RunEvent, WindowEvent};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, watch},
};

/// Wishes waiting to be fulfilled; more are dropped, since nobody clicks that fast.
const WISHES: usize = 16;
/// Given by whoever starts the app with the session.
const HIDDEN: &str = "--hidden";

/// Runs the app until it is told to quit. Takes the main thread. With `hidden` no window opens by itself.
pub fn run(runtime: &Runtime, options: Options, hidden: bool) -> ExitCode {
    tauri::async_runtime::set(runtime.handle().clone());
    let (wish, wishes) = mpsc::channel(WISHES);
    let (door, way_in) = watch::channel(Err("the gateway is starting".into()));
    let (on_window, on_launch) = (wish.clone(), wish.clone());
    let keep = !options.demo;
    let single = tauri_plugin_single_instance::Builder::new()
        .dbus_id(name_on_the_bus(&options.whose()))
        // A second launch has ended by now; the person wants to see something, a session that starts does not.
        .callback(move |_, args, _| {
            if args.iter().all(|arg| arg != HIDDEN) {
                let _ = on_launch.try_send(Wish::Open);
            }
        });
    let built = tauri::Builder::default()
        .plugin(single.build())
        .plugin(tauri_plugin_store::Builder::new().build())
        .plugin(tauri_plugin_notification::init())
        .manage(Door(way_in))
        .invoke_handler(tauri::generate_handler![door::connection])
        .on_window_event(move |window, event| match event {
            WindowEvent::CloseRequested { .. } if keep => windows::remember(window),
            WindowEvent::Destroyed => drop(on_window.try_send(Wish::WindowGone)),
            _ => {}
        });
    #[cfg(not(target_os = "linux"))]
    let built = crate::menu::listen(built, &wish);
    let built = built.build(tauri::generate_context!());
    let app = match built {
        Ok(app) => app,
        Err(why) => {
            eprintln!("lamplighter-desktop: the desktop app could not start: {why}");
            return ExitCode::FAILURE;
        }
    };
    let house = House::new(app.handle().clone(), options, hidden, (wish, wishes), door);
    let (on, lives) = (runtime.handle().clone(), house.live());
    // A thread of its own: windows and menus may wait for the main thread, and no request may ever wait for those.
    let thread = std::thread::Builder::new().name("tray".into()).spawn(move || on.block_on(lives));
    if let Err(why) = thread {
        eprintln!("lamplighter-desktop: could not start a thread: {why}");
        return ExitCode::FAILURE;
    }
    let code = app.run_return(|_, event| {
        // Without a code it means "no windows left", which is this app's everyday state.
        if let RunEvent::ExitRequested { api, code: None, .. } = event {
            api.prevent_exit();
        }
    });
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// One app for each gateway: the demo and another configuration are apps of their own.
fn name_on_the_bus(whose: &Whose) -> String {
    const NAME: &str = "app.lamplighter.desktop";
    match whose {
        Whose::Default => NAME.into(),
        // A part of such a name does not begin with a digit.
        Whose::Config(path) => format!("{NAME}.c{}", fingerprint(path)),
        Whose::Demo => format!("{NAME}.demo"),
    }
}
