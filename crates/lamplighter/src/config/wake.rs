//! The shape of `[node.wake]`, `[node.sleep]`, `keep_awake` and `[wake]` in the configuration file.

use super::fields::{Fields, describe, duration, parsed, text, word};
use lamplighter_core::{
    config::{
        Hook, KEEP_AWAKE_EVERY_MS, KeepAwake, Macs, Method, NodeCommand, Nudge, Relay, WakeConfig, WakeRules,
        header, hook_url, keep_awake_every_ms, ssh_target, wake_timeout_ms,
    },
    mac::Mac,
    wake::{QuietHours, WakePolicy},
};
use toml::de::DeValue;

pub(super) const WAKE: [&str; 5] = ["mac", "secure_on", "broadcast", "timeout", "relay"];
pub(super) const SLEEP: [&str; 5] = ["ssh", "command", "url", "method", "headers"];
const KEEP_AWAKE: [&str; 6] = ["every", "ssh", "command", "url", "method", "headers"];
pub(super) const RULES: [&str; 2] = ["default", "quiet_hours"];
const HOOK: [&str; 3] = ["url", "method", "headers"];

/// Most headers of one hook.
const HEADERS_MAX: usize = 16;
/// Most places that one packet is sent to.
const TARGETS_MAX: usize = 16;

pub(super) fn wake(fields: &mut Fields<'_, '_>) -> WakeConfig {
    let default = WakeConfig::default();
    let targets = fields.list("broadcast", parsed(str::parse)).unwrap_or_default();
    if targets.len() > TARGETS_MAX {
        fields.complain(format!("`broadcast`: more than {TARGETS_MAX} places are not used"));
    }
    WakeConfig {
        mac: fields.optional("mac", macs).unwrap_or(default.mac),
        secure_on: fields.optional("secure_on", secure_on),
        broadcast: targets.into_iter().flatten().collect(),
        timeout_ms: fields.optional("timeout", duration(wake_timeout_ms)).unwrap_or(default.timeout_ms),
        relay: relay(fields),
    }
}

/// `"auto"`, one address, or a list of them.
fn macs(value: &DeValue<'_>) -> Result<Macs, String> {
    let read = |value: &DeValue<'_>| text(value)?.parse::<Mac>();
    match value {
        DeValue::String(word) if word.as_ref() == "auto" => Ok(Macs::Auto),
        DeValue::String(_) => Ok(Macs::Written(vec![read(value)?])),
        DeValue::Array(list) => {
            list.iter().map(|entry| read(entry.get_ref())).collect::<Result<_, _>>().map(Macs::Written)
        }
        other => Err(format!("expected \"auto\" or an address, found {}", describe(other))),
    }
}

/// A password. Whatever stands there is not repeated.
fn secure_on(value: &DeValue<'_>) -> Result<lamplighter_core::config::SecureOn, String> {
    value.as_str().unwrap_or_default().parse()
}

fn relay(fields: &mut Fields<'_, '_>) -> Option<Relay> {
    if fields.is_table("relay") {
        return fields.table("relay", "relay", &HOOK, hook).flatten().map(Relay::Hook);
    }
    fields.optional("relay", |value| match text(value)?.as_str() {
        "tailscale" => Ok(Relay::Tailscale),
        _ => Err("it is \"tailscale\" or { url = \"http://…\", method = \"POST\" }".into()),
    })
}

fn hook(fields: &mut Fields<'_, '_>) -> Option<Hook> {
    let url = fields.required("url", "\"http://192.168.1.2:8123/api/webhook/wake\"", parsed(hook_url));
    let method = fields.optional("method", word("method", &Method::ALL, Method::word)).unwrap_or_default();
    let headers = fields
        .pairs("headers", |name, value| header(name, value.as_str().ok_or("expected text, in quotes")?));
    if headers.len() > HEADERS_MAX {
        fields.complain(format!("`headers`: more than {HEADERS_MAX} are not sent"));
    }
    url.map(|url| Hook { url, method, headers })
}

pub(super) fn sleep(fields: &mut Fields<'_, '_>) -> Option<NodeCommand> {
    node_command(fields, "[node.sleep]", "systemctl suspend")
}

/// `true`, how often, or a table with a command.
pub(super) fn keep_awake(fields: &mut Fields<'_, '_>) -> Option<KeepAwake> {
    const NAME: &str = "keep_awake";
    let by_call = |every_ms| KeepAwake { every_ms, by: Nudge::Call };
    if fields.is_table(NAME) {
        let with_command = |fields: &mut Fields<'_, '_>| {
            let every_ms = fields.optional("every", duration(keep_awake_every_ms));
            let example = "systemd-inhibit --what=idle sleep 90 >/dev/null 2>&1 &";
            let by = node_command(fields, NAME, example).map(Nudge::Command);
            by.map(|by| KeepAwake { every_ms: every_ms.unwrap_or(KEEP_AWAKE_EVERY_MS), by })
        };
        return fields.table(NAME, NAME, &KEEP_AWAKE, with_command).flatten();
    }
    let read =
        |value: &DeValue<'_>| match value {
            DeValue::Boolean(wanted) => Ok(wanted.then(|| by_call(KEEP_AWAKE_EVERY_MS))),
            DeValue::String(text) => keep_awake_every_ms(text).map(|every_ms| Some(by_call(every_ms))),
            _ => Err("it is true, how often (\"45s\"), or { ssh = \"me@192.168.1.50\", command = \"…\" }"
                .to_owned()),
        };
    fields.optional(NAME, read).flatten()
}

/// A command by SSH or by HTTP, in the table called `title`.
fn node_command(fields: &mut Fields<'_, '_>, title: &str, example: &str) -> Option<NodeCommand> {
    match (fields.has("ssh"), fields.has("url")) {
        (true, true) => {
            fields.complain(format!("{title} has both `ssh` and `url`: one of them is enough"));
            None
        }
        (false, true) => {
            if fields.has("command") {
                fields.complain(format!("`command` in {title} goes with `ssh`, not with `url`"));
            }
            hook(fields).map(NodeCommand::Hook)
        }
        _ => {
            let target = fields.required("ssh", "\"me@192.168.1.50\"", parsed(ssh_target));
            let command = fields.required("command", &format!("{example:?}"), parsed(command));
            for field in ["method", "headers"] {
                if fields.has(field) {
                    fields.complain(format!("`{field}` in {title} goes with `url`, not with `ssh`"));
                }
            }
            Some(NodeCommand::Ssh { target: target?, command: command? })
        }
    }
}

fn command(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.contains('\0') {
        return Err("write what is to be run, like \"systemctl suspend\"".into());
    }
    Ok(text.to_owned())
}

pub(super) fn rules(fields: &mut Fields<'_, '_>) -> WakeRules {
    let quiet =
        |text: &str| if text.trim().is_empty() { Ok(None) } else { text.parse::<QuietHours>().map(Some) };
    WakeRules {
        default: fields
            .optional("default", word("policy", &WakePolicy::ALL, WakePolicy::word))
            .unwrap_or_default(),
        quiet_hours: fields.optional("quiet_hours", parsed(quiet)).flatten(),
    }
}
