//! What a request may do when the machine that has its model sleeps: wake it and wait, wake it for the next one, have a person
//! asked, or pass it over.

use crate::operation::{Lane, Operation};
use serde::{Deserialize, Serialize};

/// What happens when the machine that has the model sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum WakePolicy {
    /// The request wakes it and waits for it.
    #[default]
    Wait,
    /// The first machine that is up answers; the sleeping one is woken for the next request.
    Fallback,
    /// A person is asked; without an answer it is `fallback`.
    Ask,
    /// Sleeping machines are passed over.
    Never,
}

impl WakePolicy {
    /// Every policy, as in the configuration file.
    pub const ALL: [Self; 4] = [Self::Wait, Self::Fallback, Self::Ask, Self::Never];

    /// The word used in the configuration file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Fallback => "fallback",
            Self::Ask => "ask",
            Self::Never => "never",
        }
    }
}

/// What kind of request it is, as far as waking is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A generation that somebody wants to read.
    Generate,
    /// Embeddings: mostly an indexer at work by itself.
    Embed,
    /// Nobody waits for it: titles, tags, follow-up questions, whatever its client calls background.
    Background,
    /// It asks about models: a list, a count of tokens, a look.
    Look,
}

impl Kind {
    /// The kind of an operation that is not known to be in the background.
    #[must_use]
    pub fn of(operation: Operation) -> Self {
        match operation.lane() {
            Lane::Generate => Self::Generate,
            Lane::Embed => Self::Embed,
            Lane::Free => Self::Look,
        }
    }
}

/// What a sleeping machine is for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It could be woken.
    Asleep,
    /// A wake is under way.
    Waking,
    /// It has just been tried, or too often: no request starts a wake now.
    Failed,
    /// It sleeps, and these are quiet hours.
    Quiet,
}

/// What a request wants, as far as waking is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// What it is.
    pub kind: Kind,
    /// What the alias that it named says ([`crate::alias::Target::wake`]).
    pub alias: Option<WakePolicy>,
    /// What `[wake]` says.
    pub default: WakePolicy,
    /// A person has switched waking off (`no-wake`), or the client may not.
    pub forbidden: bool,
}

/// What to do about a sleeping machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It counts as able to serve: the request wakes it, or joins the wake, and waits.
    Wait,
    /// Machines that are up answer, and this one is woken for the next request; with nobody up, the request waits for it.
    Fallback,
    /// A person is asked first; without an answer it is [`Verdict::Fallback`].
    Ask,
    /// It is passed over.
    Pass(Pass),
}

/// Why a sleeping machine is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// The policy says never.
    Policy,
    /// A person was asked, and rather lets it sleep.
    Declined,
    /// Nobody waits for this request: such ones wake nothing.
    Background,
    /// Embeddings wake only by an alias that says so.
    Embeddings,
    /// It only asks about models.
    Look,
    /// Waking is switched off, or not this client's right.
    Forbidden,
    /// It has just been tried.
    Failed,
    /// Quiet hours.
    Quiet,
}

impl Pass {
    /// Why, in words that follow "it is asleep, and".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Policy => "the policy is not to wake it",
            Self::Declined => "somebody was asked and rather lets it sleep",
            Self::Background => "background requests wake nothing",
            Self::Embeddings => "embeddings wake only by an alias with wake = \"wait\"",
            Self::Look => "such a request wakes nothing",
            Self::Forbidden => "waking is switched off",
            Self::Failed => "it was called a moment ago",
            Self::Quiet => "these are quiet hours",
        }
    }

    /// It may be otherwise within a minute without anybody doing anything.
    #[must_use]
    pub fn soon(self) -> bool {
        matches!(self, Self::Failed)
    }
}

impl Wish {
    /// What to do about a machine in this condition.
    #[must_use]
    pub fn verdict(self, condition: Condition) -> Verdict {
        match self.kind {
            _ if self.forbidden => return Verdict::Pass(Pass::Forbidden),
            Kind::Background => return Verdict::Pass(Pass::Background),
            Kind::Look => return Verdict::Pass(Pass::Look),
            Kind::Embed if self.alias != Some(WakePolicy::Wait) => return Verdict::Pass(Pass::Embeddings),
            Kind::Embed | Kind::Generate => {}
        }
        match (self.alias.unwrap_or(self.default), condition) {
            (WakePolicy::Never, _) => Verdict::Pass(Pass::Policy),
            (_, Condition::Failed) => Verdict::Pass(Pass::Failed),
            (_, Condition::Quiet) => Verdict::Pass(Pass::Quiet),
            (WakePolicy::Wait, Condition::Asleep | Condition::Waking) => Verdict::Wait,
            (WakePolicy::Ask, Condition::Asleep) => Verdict::Ask,
            // Somebody has decided already: there is nothing to ask.
            (WakePolicy::Fallback, _) | (WakePolicy::Ask, Condition::Waking) => Verdict::Fallback,
        }
    }
}

/// The request header with which a client says what a request is for.
pub const CLASS_HEADER: &str = "x-lamplighter-class";

/// Does this value of [`CLASS_HEADER`] say that nobody waits for the answer?
#[must_use]
pub fn is_auxiliary_class(value: &str) -> bool {
    value.trim().eq_ignore_ascii_case("background")
}

/// How the first message of an auxiliary request begins: Open WebUI's titles, tags, follow-up questions, queries and completions
/// (open-webui `backend/open_webui/config.py`, the `DEFAULT_…_PROMPT_TEMPLATE`s). Each is the only message but for the model's own
/// system prompt, which is put before it (`routers/openai.py` and `ollama.py`, `apply_system_prompt_to_body`).
const AUXILIARY_PROMPTS: [&[u8]; 1] = [b"### Task:"];

/// How far into a body the first message is looked for: behind a long system prompt.
const LOOKED_THROUGH_BYTES: usize = 64 * 1024;

/// Is the first message of this JSON body, system prompts aside, one that a program wrote for itself? `body` may be cut; only its
/// beginning is read.
///
/// A look at the bytes, not a parse: the first `"content"` or `"prompt"` whose value is a text.
#[must_use]
pub fn is_auxiliary_prompt(body: &[u8]) -> bool {
    let mut rest = &body[..body.len().min(LOOKED_THROUGH_BYTES)];
    let mut is_system = false;
    while let Some((text, behind)) = next_text(rest) {
        rest = behind;
        let Some(value) = behind.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start) else {
            continue;
        };
        match text {
            b"role" => {
                let role = next_text(value).map(|(role, _)| role);
                is_system = matches!(role, Some(b"system" | b"developer"));
            }
            b"content" | b"prompt" => {
                // Content in parts: the text stands in the first one.
                let value = value.strip_prefix(b"[").map_or(value, |parts| after_text_key(parts));
                let Some((text, behind)) = next_text(value).filter(|_| value.starts_with(b"\"")) else {
                    continue;
                };
                if !std::mem::take(&mut is_system) {
                    let text = text.trim_ascii_start();
                    let text = text.strip_prefix(b"\\n").unwrap_or(text);
                    return AUXILIARY_PROMPTS.iter().any(|prompt| text.starts_with(prompt));
                }
                rest = behind;
            }
            _ => {}
        }
    }
    false
}

/// The next text in JSON, as it is written, and what follows it. One that is cut is as long as it is.
fn next_text(json: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = json.iter().position(|&byte| byte == b'"')? + 1;
    let text = &json[start..];
    let mut is_escaped = false;
    let end = text.iter().position(|&byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    });
    let end = end.unwrap_or(text.len());
    Some((&text[..end], text.get(end + 1..).unwrap_or_default()))
}

/// The value behind the first `"text":` of a message's parts.
fn after_text_key(parts: &[u8]) -> &[u8] {
    let mut rest = parts;
    while let Some((text, behind)) = next_text(rest) {
        // `{"type": "text", …}`: there the word is a value, with no colon behind it.
        if let (b"text", Some(value)) = (text, behind.trim_ascii_start().strip_prefix(b":")) {
            return value.trim_ascii_start();
        }
        rest = behind;
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::{Condition::*, Verdict::*, WakePolicy as Policy, *};

    const CONDITIONS: [Condition; 4] = [Asleep, Waking, Condition::Failed, Condition::Quiet];

    /// One row of the table: what happens in each of the four conditions.
    fn row(kind: Kind, alias: Option<Policy>, default: Policy) -> [Verdict; 4] {
        CONDITIONS.map(|condition| Wish { kind, alias, default, forbidden: false }.verdict(condition))
    }

    #[test]
    fn the_table_of_four_policies_in_four_conditions() {
        let (failed, quiet) = (Pass(super::Pass::Failed), Pass(super::Pass::Quiet));
        let never = [Pass(super::Pass::Policy); 4];
        //                     asleep    waking    failed  quiet
        let wait = [Wait, Wait, failed, quiet];
        let fallback = [Verdict::Fallback, Verdict::Fallback, failed, quiet];
        let ask = [Verdict::Ask, Verdict::Fallback, failed, quiet];
        for (policy, expected) in
            [(Policy::Wait, wait), (Policy::Fallback, fallback), (Policy::Ask, ask), (Policy::Never, never)]
        {
            for other in Policy::ALL {
                assert_eq!(row(Kind::Generate, Some(policy), other), expected, "an alias with {policy:?}");
            }
            assert_eq!(row(Kind::Generate, None, policy), expected, "a bare model under {policy:?}");
        }
    }

    #[test]
    fn embeddings_wake_only_where_an_alias_says_wait() {
        let pass = [Pass(super::Pass::Embeddings); 4];
        let wait = row(Kind::Generate, Some(Policy::Wait), Policy::Never);
        for policy in Policy::ALL {
            let alias = row(Kind::Embed, Some(policy), Policy::Wait);
            assert_eq!(alias, if policy == Policy::Wait { wait } else { pass }, "an alias with {policy:?}");
            assert_eq!(row(Kind::Embed, None, policy), pass, "a bare model under {policy:?}");
        }
    }

    #[test]
    fn what_nobody_waits_for_and_what_only_looks_wakes_nothing() {
        for policy in Policy::ALL {
            for alias in [None, Some(policy)] {
                assert_eq!(row(Kind::Background, alias, policy), [Pass(super::Pass::Background); 4]);
                assert_eq!(row(Kind::Look, alias, policy), [Pass(super::Pass::Look); 4]);
                let forbidden = Wish { kind: Kind::Generate, alias, default: policy, forbidden: true };
                assert!(CONDITIONS.iter().all(|&c| forbidden.verdict(c) == Pass(super::Pass::Forbidden)));
            }
        }
        assert_eq!(Kind::of(Operation::Messages), Kind::Generate);
        assert_eq!(Kind::of(Operation::OllamaEmbed), Kind::Embed);
        assert_eq!(Kind::of(Operation::CountTokens), Kind::Look);
        assert_eq!(Kind::of(Operation::OllamaShow), Kind::Look);
    }

    #[test]
    fn what_is_auxiliary() {
        for (body, auxiliary) in [
            (
                r####"{"model":"m","messages":[{"role":"user","content":"### Task:\nGenerate a concise title"}]}"####,
                true,
            ),
            (
                r####"{"model": "m", "messages": [{"role": "user", "content": "### Task:\nSuggest 3-5 follow-ups"}]}"####,
                true,
            ),
            (
                r####"{"messages":[{"content":[{"type":"text","text":"### Task:\nx"}],"role":"user"}]}"####,
                true,
            ),
            (r####"{"model":"m","prompt":"\n### Task:\nx"}"####, true),
            (
                r####"{"messages":[{"role":"system","content":"Say \"content\": \\ "},{"role":"user","content":"### Task:\nx"}]}"####,
                true,
            ),
            (
                r####"{"messages":[{"role":"system","content":"### Task: be kind"},{"role":"user","content":"hi"}]}"####,
                false,
            ),
            (
                r####"{"messages":[{"role":"developer","content":[{"type":"text","text":"x"}]},{"role":"user","content":"### Task:"}]}"####,
                true,
            ),
            (
                r####"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"### Task:"}]}"####,
                false,
            ),
            (r####"{"messages":[{"role":"user","content":"What does ### Task: mean?"}]}"####, false),
            (r####"{"messages":[{"role":"user","content":"hi"}],"title":"### Task:"}"####, false),
            (r####"{"messages":[{"role":"user","content":["####, false),
            ("", false),
        ] {
            assert_eq!(is_auxiliary_prompt(body.as_bytes()), auxiliary, "{body}");
        }
        assert!(is_auxiliary_class(" Background") && !is_auxiliary_class("") && !is_auxiliary_class("chat"));
        let late = format!(r####"{{"x":"{}","prompt":"### Task:"}}"####, "y".repeat(LOOKED_THROUGH_BYTES));
        assert!(!is_auxiliary_prompt(late.as_bytes()), "only the beginning is read");
    }
}
