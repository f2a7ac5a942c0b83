//! One style of `use`: each crate by one, in three groups, and where everybody looks for it.

use std::collections::BTreeSet;

use syn::{Item, UseTree, visit::Visit};

use crate::{root, sources};

#[test]
fn imports_have_one_style() {
    let mut faults = Vec::new();
    for folder in ["shared", "services", "tests"] {
        for (path, text) in sources(&root().join(folder)).into_iter().filter(|(path, _)| path.contains("/src/")) {
            faults.extend(faults_of(&text).into_iter().map(|fault| format!("{path}: {fault}")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Handing names on (`pub use`), and what stands under an attribute, is left as it is.
fn faults_of(text: &str) -> Vec<String> {
    let file = syn::parse_file(text).unwrap();
    let mut reader = Reader { children: children(&file.items), faults: Vec::new() };
    reader.read_items(&file.items);
    reader.visit_file(&file);
    let mut faults = reader.faults;
    let mut before: Option<(usize, u8)> = None;
    let mut is_apart = false;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        if let Some(first) = line.trim_start().strip_prefix("use ").map(first_word) {
            let group = group_of(first, &reader.children);
            if before.is_some_and(|(at, other)| at == indent && (other != group) != is_apart) {
                faults.push(format!(
                    "an empty line stands between std, other crates and this one, only: `{}`",
                    line.trim()
                ));
            }
            before = Some((indent, group));
            is_apart = false;
        } else if line.is_empty() {
            is_apart = true;
        } else if !line.trim_start().starts_with('}') && before.is_none_or(|(at, _)| indent <= at) {
            before = None;
        }
    }
    faults
}

fn first_word(path: &str) -> &str {
    path.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).next().unwrap_or_default()
}

/// The standard library, other crates, this one.
fn group_of(first: &str, children: &BTreeSet<String>) -> u8 {
    match first {
        "std" | "core" | "alloc" => 0,
        "crate" | "self" | "super" => 2,
        child if children.contains(child) => 2,
        _ => 1,
    }
}

fn children(items: &[Item]) -> BTreeSet<String> {
    let names = items.iter().filter_map(|item| match item {
        Item::Mod(module) => Some(module.ident.to_string()),
        _ => None,
    });
    names.collect()
}

struct Reader {
    children: BTreeSet<String>,
    faults: Vec<String>,
}

impl Reader {
    fn read_items(&mut self, items: &[Item]) {
        let mut seen = BTreeSet::new();
        let mut last = 0;
        for item in items {
            let Item::Use(item) = item else { continue };
            let UseTree::Path(path) = &item.tree else { continue };
            if !matches!(item.vis, syn::Visibility::Inherited) || !item.attrs.is_empty() {
                continue;
            }
            let first = path.ident.to_string();
            let group = group_of(&first, &self.children);
            if group < last {
                self.faults.push(format!("std comes first, this crate last: `use {first}`"));
            }
            last = last.max(group);
            // `use super::*` stays apart from what else comes from there.
            if !matches!(&*path.tree, UseTree::Glob(_)) && !seen.insert(first.clone()) {
                self.faults.push(format!("two `use` of `{first}`"));
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if let Some((_, items)) = &item.content {
            self.read_items(items);
        }
        syn::visit::visit_item_mod(self, item);
    }

    /// Inside a function only the variants of a type may be named shorter.
    fn visit_block(&mut self, block: &'ast syn::Block) {
        for statement in &block.stmts {
            let syn::Stmt::Item(Item::Use(item)) = statement else { continue };
            let mut tree = &item.tree;
            let mut is_of_type = false;
            while let UseTree::Path(path) = tree {
                is_of_type |= path.ident.to_string().starts_with(char::is_uppercase);
                tree = &path.tree;
            }
            if !is_of_type {
                self.faults.push("a `use` inside a function that is not of a type's variants".to_owned());
            }
        }
        syn::visit::visit_block(self, block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_can_be_broken() {
        let good = "mod child;\n\nuse std::{\n    fmt,\n    io,\n};\n\nuse other::A;\nuse some::B;\n\n\
                    use child::C;\nuse super::*;\nuse super::{D, E};\n\nfn f() {\n    use A::One;\n}\n\n\
                    mod tests {\n    use some::F;\n\n    use super::*;\n}\n";
        let none: [&str; 0] = [];
        assert_eq!(faults_of(good), none);
        let broken = |from: &str, to: &str| {
            assert!(good.contains(from));
            faults_of(&good.replace(from, to)).join("; ")
        };
        assert!(broken("\n\nuse other", "\nuse other").starts_with("an empty line stands"));
        assert!(broken("use some", "\nuse some").starts_with("an empty line stands"));
        assert!(broken("F;\n\n    use super", "F;\n    use super").starts_with("an empty line stands"));
        assert!(broken("use other::A;", "use some::A;").starts_with("two `use` of `some`"));
        assert!(broken("use some::B;\n", "use some::B;\n\nuse std::ops;\n").contains("`std`"));
        assert!(
            broken("use some::B;\n\nuse child::C;", "use child::C;\n\nuse some::B;").starts_with("std comes first")
        );
        assert!(broken("use A::One;", "use a::One;").starts_with("a `use` inside a function"));
    }
}
