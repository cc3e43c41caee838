//! How other programs are pointed here.

use super::{Action, Row};

/// What programs accept as a key where none is needed: many refuse to start without one.
const ANY_KEY: &str = "lamplighter";

/// The rows that help with it.
pub(super) fn row() -> Row {
    let rows = vec![
        Row::item("connect/base-url", "Copy base URL", Action::CopyBaseUrl),
        Row::item("connect/environment", "Copy environment block", Action::CopyEnvironment),
    ];
    Row::submenu("connect", "Connect an app", rows)
}

/// The lines for a shell that point the usual libraries and tools here.
///
/// The names are those of the `openai` and `anthropic` libraries, of Claude Code and of Ollama's own command line.
#[must_use]
pub fn environment(base_url: &str) -> String {
    [
        ("OPENAI_BASE_URL", format!("{base_url}/v1")),
        ("OPENAI_API_KEY", ANY_KEY.to_owned()),
        ("OLLAMA_HOST", base_url.to_owned()),
        ("ANTHROPIC_BASE_URL", base_url.to_owned()),
        ("ANTHROPIC_AUTH_TOKEN", ANY_KEY.to_owned()),
    ]
    .map(|(name, value)| format!("export {name}={value}\n"))
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_openai_wants_the_version_in_its_address() {
        let block = environment("http://127.0.0.1:11400");
        assert_eq!(
            block.lines().collect::<Vec<_>>(),
            [
                "export OPENAI_BASE_URL=http://127.0.0.1:11400/v1",
                "export OPENAI_API_KEY=lamplighter",
                "export OLLAMA_HOST=http://127.0.0.1:11400",
                "export ANTHROPIC_BASE_URL=http://127.0.0.1:11400",
                "export ANTHROPIC_AUTH_TOKEN=lamplighter",
            ]
        );
    }
}
