//! The default file and the reference page, both written from the table of keys.

use std::fmt::Write as _;

use super::key::{Key, KeyText, Preset, TakesEffect};
use super::keys::{LISTS, SECTIONS};

/// Columns of the default file, so that it can be read and edited on a serial console.
const COLUMNS: usize = 80;

/// A commented file that sets every key to its default.
#[must_use]
pub fn default_file() -> String {
    let mut text = String::from(
        "# Configuration of outrider. Every key is optional; what is written here are\n\
         # the defaults. Check a changed file with `outrider config check FILE`.\n",
    );
    for section in SECTIONS {
        text.push('\n');
        comment(&mut text, section.doc);
        let _ = writeln!(text, "[{}]", section.name);
        let (tables, plain): (Vec<KeyText>, Vec<KeyText>) =
            section.keys.iter().map(Key::text).partition(|key| key.is_table);
        for key in &plain {
            text.push('\n');
            describe(&mut text, key);
            match key.preset {
                Preset::Is(literal) => {
                    let _ = writeln!(text, "{} = {literal}", key.name);
                }
                Preset::Unset(_) | Preset::Found(_) | Preset::Required => {
                    let _ = writeln!(text, "#{} = {}", key.name, key.example);
                }
            }
        }
        for key in &tables {
            text.push('\n');
            describe(&mut text, key);
            let _ = writeln!(text, "[{}.{}]", section.name, key.name);
            for entry in table_entries(key.example) {
                let _ = writeln!(text, "#{entry}");
            }
        }
    }
    for list in LISTS {
        text.push('\n');
        comment(&mut text, list.doc());
        let _ = writeln!(text, "#[[{}]]", list.name());
        for key in list.keys() {
            text.push('\n');
            describe(&mut text, &key);
            let _ = writeln!(text, "#{} = {}", key.name, key.example);
        }
    }
    text
}

fn describe(text: &mut String, key: &KeyText) {
    comment(text, &key.doc.replace('`', ""));
    if let Some(words) = key.words {
        for (word, meaning) in words {
            comment(text, &format!("  \"{word}\": {meaning}"));
        }
    } else {
        comment(text, &format!("({})", key.value.replace('`', "")));
    }
    match key.preset {
        Preset::Is(_) => {}
        Preset::Required => comment(text, "Has to be given."),
        Preset::Unset(meaning) => comment(text, &format!("Not set: {}.", meaning.replace('`', ""))),
        Preset::Found(how) => comment(text, &format!("Default: {}.", how.replace('`', ""))),
    }
}

fn comment(text: &mut String, sentence: &str) {
    for line in super::wrap::wrap(sentence, COLUMNS - 2) {
        let _ = writeln!(text, "# {line}");
    }
}

/// The entries of an inline table, one a line.
fn table_entries(literal: &str) -> Vec<String> {
    let inner = literal.trim_start_matches('{').trim_end_matches('}').trim();
    inner
        .split("], ")
        .filter(|entry| !entry.is_empty())
        .map(|entry| if entry.ends_with(']') { entry.to_owned() } else { format!("{entry}]") })
        .collect()
}

/// The reference page in Markdown.
#[must_use]
pub fn reference_page() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         Printed by `outrider config doc`; do not edit.\n\n\
         One TOML file. It is the file named by `--config`, else by `$OUTRIDER_CONFIG`, else\n\
         `/etc/outrider/outrider.toml`, which may be missing: every key is optional. An unknown \
         key is an\n\
         error. `outrider config default` prints a file with all defaults, `outrider config \
         check`\n\
         checks one.\n\n\
         Durations are written as `\"500ms\"`, `\"5s\"`, `\"1m30s\"`, `\"2h\"` or `\"1d\"`; sizes \
         as `\"512KiB\"`,\n\
         `\"1MiB\"` or a number of bytes; addresses as `\"127.0.0.1:9090\"` or \
         `\"[::1]:9090\"`.\n\n\
         Keys marked *reload* take effect on `systemctl reload outrider` (SIGHUP); the others at \
         the next\n\
         start, and a reload says which of them were changed.\n",
    );
    for section in SECTIONS {
        let keys: Vec<KeyText> = section.keys.iter().map(Key::text).collect();
        chapter(&mut page, section.name, ["[", "]"], section.doc, &keys);
    }
    for list in LISTS {
        chapter(&mut page, list.name(), ["[[", "]]"], list.doc(), &list.keys());
    }
    page
}

fn chapter(page: &mut String, name: &str, brackets: [&str; 2], doc: &str, keys: &[KeyText]) {
    let [open, close] = brackets;
    let _ = write!(page, "\n## `{open}{name}{close}`\n\n{doc}\n\n");
    page.push_str("| Key | Default | Takes effect |\n| --- | --- | --- |\n");
    for key in keys {
        let _ = writeln!(
            page,
            "| [`{0}`](#{1}) | {2} | {3} |",
            key.name,
            anchor(name, key),
            preset(key),
            takes_effect(key)
        );
    }
    for key in keys {
        let _ = write!(page, "\n### `{}.{}`\n\n{}\n\n", name, key.name, key.doc);
        details(page, name, key);
    }
}

fn details(page: &mut String, section: &str, key: &KeyText) {
    if let Some(words) = key.words {
        page.push_str("- Value: one of\n");
        for (word, meaning) in words {
            let _ = writeln!(page, "  - `\"{word}\"`: {meaning}");
        }
    } else {
        let _ = writeln!(page, "- Value: {}", key.value);
    }
    let _ = writeln!(page, "- Default: {}", preset(key));
    let _ = writeln!(page, "- Takes effect: {}", takes_effect(key));
    if key.is_table {
        let _ = write!(page, "- Example:\n\n  ```toml\n  [{}.{}]\n", section, key.name);
        for entry in table_entries(key.example) {
            let _ = writeln!(page, "  {entry}");
        }
        page.push_str("  ```\n");
    } else {
        let _ = writeln!(page, "- Example: `{} = {}`", key.name, key.example);
    }
}

fn preset(key: &KeyText) -> String {
    match key.preset {
        Preset::Is(literal) => format!("`{literal}`"),
        Preset::Unset(meaning) => format!("not set: {meaning}"),
        Preset::Found(how) => (*how).to_owned(),
        Preset::Required => "has to be given".to_owned(),
    }
}

fn takes_effect(key: &KeyText) -> &'static str {
    match key.takes_effect {
        TakesEffect::OnReload => "reload",
        TakesEffect::OnRestart => "restart",
    }
}

/// The anchor that Markdown renderers make of a key's heading.
fn anchor(section: &str, key: &KeyText) -> String {
    format!("{}{}", section.replace('.', ""), key.name)
}
