//! What eyes see: the snapshot as tray menu and as status rows, in plain data that shells only draw.
//!
//! The words and glyphs are the same everywhere, and they always go together: a glyph says by its shape what the word
//! says, so that neither colour nor font size is needed to read them.

mod bell;
mod connect;
mod crier;
mod news_menu;
mod node_menu;
mod routing_menu;
#[cfg(test)]
mod sample;
mod status;
mod summary;
mod tray;
mod trouble;
mod words;

use crate::{mode::Mode, snapshot::Offer};
pub use bell::{News, Notice};
pub use connect::environment;
pub use crier::{Crier, Heard};
pub use routing_menu::routing;
pub use status::{StatusRow, questions, status};
pub use tray::tray;
pub use words::{Clock, Mark};

/// The tray as it should look now. Two equal values need no work in the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tray {
    /// The icon.
    pub lamp: Lamp,
    /// One line that says it all: the tooltip and the first row.
    pub summary: String,
    /// The menu, top to bottom.
    pub rows: Vec<Row>,
}

/// The tray icon: states that differ in shape, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lamp {
    /// A person should look.
    Alert,
    /// A person has paused it.
    Paused,
    /// A node is on its way up.
    Waking,
    /// A request is under way.
    Busy,
    /// A node with a GPU takes requests.
    Lit,
    /// Only nodes without a GPU take requests.
    Low,
    /// Nobody takes requests.
    Dark,
}

impl Lamp {
    /// Every lamp, the most urgent first.
    pub const ALL: [Lamp; 7] =
        [Self::Alert, Self::Paused, Self::Waking, Self::Busy, Self::Lit, Self::Low, Self::Dark];

    /// Its name in the icon files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Paused => "paused",
            Self::Waking => "waking",
            Self::Busy => "busy",
            Self::Lit => "lit",
            Self::Low => "low",
            Self::Dark => "dark",
        }
    }
}

/// One row of the menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its name, for example `copy-base-url` or `node/nas`; unique in the menu, stable over updates.
    pub id: String,
    /// What it says. Mnemonics are the shell's affair: an `&` here is an `&`.
    pub text: String,
    /// Can it be clicked or opened?
    pub enabled: bool,
    /// What sort of row it is.
    pub kind: Kind,
    /// What a click on it does, as it reads now.
    pub action: Option<Action>,
}

/// What a click does. All of it can also be done in the window and on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Puts the address for apps on the clipboard.
    CopyBaseUrl,
    /// Puts the lines that point programs here on the clipboard.
    CopyEnvironment,
    /// Opens the window.
    Open,
    /// Loads a model into a node's memory.
    Load {
        /// The node.
        node: String,
        /// The model, as the node lists it.
        model: String,
    },
    /// Takes a model out of a node's memory, or all of them: its GPU is free then.
    Unload {
        /// The node.
        node: String,
        /// The model, as the node lists it; all when `None`.
        model: Option<String>,
    },
    /// Wakes a machine.
    Wake {
        /// The node.
        node: String,
    },
    /// Ends a wake under way.
    CancelWake {
        /// The node.
        node: String,
    },
    /// Answers whether a machine is woken for a request.
    Answer {
        /// The node.
        node: String,
        /// Wake it; else the request is answered elsewhere.
        wake: bool,
    },
    /// Tells a sort of news by notifications, or not.
    Tell(News, bool),
    /// Puts a machine to sleep.
    Sleep {
        /// The node.
        node: String,
    },
    /// Has a machine called again and again while it answers, so that it does not fall asleep; or not any more.
    KeepAwake {
        /// The node.
        node: String,
        /// From now on; else not any more.
        on: bool,
    },
    /// Says that a machine is at home on the network we are on.
    IsHome {
        /// The node.
        node: String,
    },
    /// Chooses a routing mode.
    Route(Mode),
    /// Pauses, for an hour or until somebody resumes.
    Pause {
        /// For an hour.
        an_hour: bool,
    },
    /// Ends a pause in the mode that was chosen before.
    Resume,
    /// Makes an engine on this computer a node. Where it holds our port, the gateway gets another one and starts.
    Use(Offer),
    /// Starts a gateway in this app, in place of one that is gone or did not start.
    StartHere,
    /// Ends the app.
    Quit,
}

/// The sorts of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A line of text.
    Item,
    /// A line of text with a check mark, set or not.
    Check(bool),
    /// A thin line between groups.
    Separator,
    /// A line of text that opens more rows. There is one level of them: GNOME folds deeper ones away.
    Submenu(Vec<Row>),
}

impl Tray {
    /// The row of this id, on whichever level.
    #[must_use]
    pub fn row(&self, id: &str) -> Option<&Row> {
        self.rows.iter().flat_map(|row| std::iter::once(row).chain(row.below())).find(|row| row.id == id)
    }
}

impl Row {
    fn new(id: impl Into<String>, text: impl Into<String>, kind: Kind, action: Option<Action>) -> Self {
        Self { id: id.into(), text: text.into(), enabled: action.is_some(), kind, action }
    }

    /// A line to click.
    fn item(id: impl Into<String>, text: impl Into<String>, action: Action) -> Self {
        Self::new(id, text, Kind::Item, Some(action))
    }

    /// A line to read.
    fn note(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(id, text, Kind::Item, None)
    }

    /// A line with a mark; to read when there is no action.
    fn check(id: impl Into<String>, text: impl Into<String>, on: bool, action: Option<Action>) -> Self {
        Self::new(id, text, Kind::Check(on), action)
    }

    /// A line that opens more.
    fn submenu(id: impl Into<String>, text: impl Into<String>, rows: Vec<Row>) -> Self {
        Self { enabled: true, ..Self::new(id, text, Kind::Submenu(rows), None) }
    }

    fn separator(id: impl Into<String>) -> Self {
        Self::new(id, "", Kind::Separator, None)
    }

    fn below(&self) -> &[Row] {
        match &self.kind {
            Kind::Submenu(rows) => rows,
            Kind::Item | Kind::Check(_) | Kind::Separator => &[],
        }
    }

    /// Same row, perhaps with another text: can the one shown be turned into `other` without rebuilding the menu?
    #[must_use]
    pub fn same_place(&self, other: &Row) -> bool {
        self.id == other.id
            && match (&self.kind, &other.kind) {
                (Kind::Submenu(mine), Kind::Submenu(theirs)) => same_places(mine, theirs),
                (mine, theirs) => std::mem::discriminant(mine) == std::mem::discriminant(theirs),
            }
    }
}

/// Do two menus have the same rows in the same places, whatever these say?
#[must_use]
pub fn same_places(mine: &[Row], theirs: &[Row]) -> bool {
    mine.len() == theirs.len() && mine.iter().zip(theirs).all(|(mine, theirs)| mine.same_place(theirs))
}
