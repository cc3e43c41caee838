//! What holds for every file: its first line, its length, its names, and nothing of the machine it was written on.

use super::{Breach, Tree, files::File, manifests::numbered, tokens::tokens};

/// Lines that a file may have. A file that fits in the head has far fewer.
pub const LONGEST: usize = 500;

/// Names that say nothing about what a thing does.
const EMPTY_NAMES: [&str; 4] = ["Manager", "Service", "Helper", "Util"];

/// The field's own terms, which say exactly what the thing is: the program that places a desktop's windows.
const TERMS: [&str; 1] = ["WindowManager"];

/// Texts that name somebody's machine or a place where packages are fetched, put together so that they do not stand here.
const PLACES: [&str; 9] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/tmp/", "w/"),
    concat!("index", "-url"),
    concat!("registry.", "npmjs.org"),
    concat!("pypi.org", "/simple"),
    concat!("files.", "pythonhosted.org"),
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
];
/// Settings of package managers that name a registry.
const SETTINGS: [&str; 3] = [concat!("registry", "="), concat!("registry", " ="), concat!("[source", ".")];

pub(super) fn check(tree: &Tree, found: &mut Vec<Breach>) {
    for file in tree.all() {
        if file.path.ends_with(".rs") {
            rust(file, found);
        }
        places(file, found);
    }
}

fn rust(file: &File, found: &mut Vec<Breach>) {
    if !file.text.starts_with("//! ") {
        found.push(Breach::new(&file.path, 1, "first line", "it must say what the file is: `//! …`"));
    }
    let lines = file.text.lines().count();
    if lines > LONGEST {
        let what = format!("{lines} lines; {LONGEST} are the most");
        found.push(Breach::new(&file.path, LONGEST + 1, "length", what));
    }
    let words = tokens(&file.text);
    for token in words.iter().filter(|token| token.text == "unsafe") {
        found.push(Breach::new(&file.path, token.line, "unsafe", "there is none in this house"));
    }
    for two in words.windows(2) {
        let names_a_type = matches!(two[0].text, "struct" | "enum" | "trait" | "type" | "union" | "mod");
        if names_a_type && let Some(empty) = empty_name(two[1].text) {
            let what = format!("`{}`: what does a {empty} do? Name that", two[1].text);
            found.push(Breach::new(&file.path, two[1].line, "names", what));
        }
    }
}

/// The empty word in a name, if one of its words is one: `NodeManager`, `Utils`, `helpers`; not `Utilization`.
fn empty_name(name: &str) -> Option<&'static str> {
    if TERMS.contains(&name) {
        return None;
    }
    let mut words: Vec<String> = Vec::new();
    for letter in name.chars() {
        if letter == '_' {
            words.push(String::new());
        } else if letter.is_uppercase() || words.is_empty() {
            words.push(letter.to_lowercase().collect());
        } else if let Some(word) = words.last_mut() {
            word.push(letter);
        }
    }
    let is = |word: &String, empty: &str| word.trim_end_matches('s') == empty.to_lowercase();
    EMPTY_NAMES.into_iter().find(|empty| words.iter().any(|word| is(word, empty)))
}

fn places(file: &File, found: &mut Vec<Breach>) {
    // The whole text first: few files have any.
    let named: Vec<&str> = PLACES.into_iter().filter(|place| file.text.contains(place)).collect();
    for (line, text) in numbered(&file.text) {
        let names_one = |place: &&&str| {
            // `net/work/` is no path of a machine.
            text.match_indices(**place).any(|(at, _)| {
                !place.starts_with('/') || !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '.')
            })
        };
        let setting = |setting: &&&str| text.trim_start().starts_with(**setting);
        if let Some(place) = named.iter().find(names_one).or_else(|| SETTINGS.iter().find(setting)) {
            found.push(Breach::new(&file.path, line, "places", format!("it names `{place}`")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::empty_name;

    #[test]
    fn empty_names() {
        for name in ["NodeManager", "ServiceHandle", "helpers", "StringUtils", "util", "my_util"] {
            assert!(empty_name(name).is_some(), "{name}");
        }
        for name in ["Utilization", "Manage", "Served", "Help", "Serve", "Managed", "WindowManager"] {
            assert_eq!(empty_name(name), None);
        }
    }
}
