//! Each crate's `lib.rs` lists its modules from bottom to top, and arrows run down that list only.
//!
//! The list is numbered, under the sentence [`SENTENCE`]. What the sentence names as an exception ("but for `error`,
//! ...") may use what stands above it: a crate's one error speaks of the crate's own types, whose functions answer it.

use std::collections::BTreeSet;

use crate::modules::{Arrows, room};

const SENTENCE: &str = "From bottom to top; a module uses only those before it in this list";

/// What a `lib.rs` says of its modules.
pub(crate) struct Order {
    listed: Vec<String>,
    declared: BTreeSet<String>,
    exceptions: BTreeSet<String>,
}

impl Order {
    /// Reads the text of a `lib.rs`.
    ///
    /// # Errors
    /// That there is no list, or that its numbers are not 1, 2, 3 and so on.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let file = syn::parse_file(text).map_err(|error| error.to_string())?;
        let lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("//!")).map(str::trim_start).collect();
        let items = lines.iter().enumerate().filter_map(|(at, line)| Some((at, item(line)?)));
        let items: Vec<(usize, (usize, &str))> = items.collect();
        let first = items.first().ok_or("no numbered list of modules")?.0;
        let before = lines[..first].join(" ");
        let (_, rest) = before.split_once(SENTENCE).ok_or_else(|| format!("no `{SENTENCE}` before the list"))?;
        let numbers = items.iter().map(|(_, (number, _))| *number);
        if !numbers.eq(1..=items.len()) {
            return Err("the list's numbers are not 1, 2, 3 and so on".to_owned());
        }
        let modules = file.items.iter().filter_map(|item| match item {
            syn::Item::Mod(module) if module.ident != "tests" => Some(module),
            _ => None,
        });
        Ok(Self {
            listed: items.iter().map(|(_, (_, name))| (*name).to_owned()).collect(),
            declared: modules.map(|module| module.ident.to_string()).collect(),
            exceptions: rest.split('`').skip(1).step_by(2).map(str::to_owned).collect(),
        })
    }

    /// What contradicts it: modules that are only in the list or only in the crate, arrows that run up, exceptions that
    /// nothing needs.
    pub(crate) fn faults(&self, arrows: &Arrows) -> Vec<String> {
        let listed: BTreeSet<String> = self.listed.iter().cloned().collect();
        let one_sided = listed.symmetric_difference(&self.declared);
        let mut faults: Vec<String> =
            one_sided.map(|name| format!("`{name}` must be in the list, and in the crate, once")).collect();
        let up: Vec<(&str, String)> = arrows
            .iter()
            .flat_map(|(from, to)| to.iter().map(move |to| (from.as_str(), to.as_str())))
            .filter(|(from, to)| self.runs_up(from, to))
            .map(|(from, to)| (room(from), format!("{from} -> {}", if to.is_empty() { "lib.rs" } else { to })))
            .collect();
        faults.extend(up.iter().filter(|(from, _)| !self.exceptions.contains(*from)).map(|(_, arrow)| arrow.clone()));
        let needed: BTreeSet<&str> = up.iter().map(|(from, _)| *from).collect();
        let idle = self.exceptions.iter().filter(|name| !needed.contains(name.as_str()));
        faults.extend(idle.map(|name| format!("`{name}` needs no exception: it uses nothing above it")));
        faults
    }

    /// The arrows without those of the exceptions to other rooms.
    pub(crate) fn without_exceptions(&self, mut arrows: Arrows) -> Arrows {
        for (from, to) in &mut arrows {
            if self.exceptions.contains(room(from)) {
                to.retain(|to| room(to) == room(from));
            }
        }
        arrows
    }

    /// `lib.rs` itself stands above all.
    fn runs_up(&self, from: &str, to: &str) -> bool {
        let height = |module: &str| self.listed.iter().position(|name| name == room(module));
        !from.is_empty() && (to.is_empty() || height(from) < height(to))
    }
}

/// Number and name of a line ``7. `name`: what it is``.
fn item(line: &str) -> Option<(usize, &str)> {
    let (number, rest) = line.split_once(". `")?;
    let (name, _) = rest.split_once("`: ")?;
    Some((number.parse().ok()?, name))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::modules::{Krate, circles};

    const ERROR: &str = "use crate::high::High;";
    const LOW: &str = "pub struct Low;";
    const HIGH: &str = "pub struct High; use crate::low::Low;";

    fn faults(lib: &str, files: [(&str, &str); 3]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("lib.rs");
        fs::write(&root, lib).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let arrows = Krate::read(&root).arrows();
        match Order::read(lib) {
            Ok(order) => {
                let faults = order.faults(&arrows);
                let circles = circles(&order.without_exceptions(arrows));
                faults.into_iter().chain(circles.into_iter().map(|circle| circle.join(", "))).collect()
            }
            Err(fault) => vec![fault],
        }
    }

    fn lib(list: &str) -> String {
        format!("//! A crate.\n//!\n{list}\nmod error;\nmod high;\nmod low;\npub const BOUND: usize = 1;")
    }

    #[test]
    fn every_rule_can_be_broken() {
        let list =
            format!("//! {SENTENCE}, but for\n//! `error`:\n//!\n//! 1. `error`: e\n//! 2. `low`: l\n//! 3. `high`: h");
        let files = |low| [("error.rs", ERROR), ("low.rs", low), ("high.rs", HIGH)];
        let none: [&str; 0] = [];
        assert_eq!(faults(&lib(&list), files(LOW)), none);

        // An arrow upwards, to a module, through what `lib.rs` hands on, inside of a macro, and to `lib.rs` itself.
        let up = ["low -> high", "high -> low, low -> high"];
        assert_eq!(faults(&lib(&list), files("pub struct Low; use crate::high::High;")), up);
        let handed_on = format!("{}\npub use high::High;", lib(&list));
        assert_eq!(faults(&handed_on, files("pub struct Low; fn f(_: crate::High) {}")), up);
        assert_eq!(faults(&lib(&list), files("pub struct Low; fn f() { println!(\"\", crate::high::High) }")), up);
        let bound = "pub struct Low; const TWICE: usize = 2 * crate::BOUND;";
        assert_eq!(faults(&lib(&list), files(bound)), ["low -> lib.rs"]);

        // The exceptions are those that the sentence names, and are needed.
        let (strict, idle) =
            (list.replace("`error`:\n", "none:\n"), list.replace("but for\n//! `error`", "`error`, `low`"));
        assert_eq!(faults(&lib(&strict), files(LOW)), ["error -> high"]);
        assert_eq!(faults(&lib(&idle), files(LOW)), ["`low` needs no exception: it uses nothing above it"]);

        // The list is complete, and is a list.
        let (absent, foreign) = (list.replace("3. `high`", "3. `hihg`"), "no `From bottom to top;");
        assert!(faults(&lib(&absent), files(LOW)).iter().any(|fault| fault.starts_with("`high` must be in the list")));
        assert!(faults(&lib(&list.replace("From bottom", "From")), files(LOW))[0].starts_with(foreign));
        assert!(faults(&lib(&list.replace("3.", "4.")), files(LOW))[0].starts_with("the list's numbers"));
        assert_eq!(faults(&lib("//! Nothing more."), files(LOW)), ["no numbered list of modules"]);
    }
}
