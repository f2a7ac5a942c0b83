//! Inside a crate, too, arrows run one way: no module uses, through whatever others, one that uses it.
//!
//! An arrow is a path that begins with `crate`, `self`, `super` or a child's name and ends at what another file
//! defines. Handing names on (`pub use`) is no arrow: it is followed to where the name is defined.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{Item, UseTree, visit::Visit};

/// A module by its path from the crate's root: `["journal", "rows"]`.
type Module = Vec<String>;

/// Who uses whom, by path (`journal::rows`); the crate's root is the empty one.
pub(crate) type Arrows = BTreeMap<String, BTreeSet<String>>;

/// One crate, read.
pub(crate) struct Krate {
    modules: BTreeMap<Module, Source>,
}

/// What one module says.
#[derive(Default)]
struct Source {
    /// What it hands on or brings in: name here, absolute path there.
    uses: BTreeMap<String, Vec<String>>,
    /// Absolute paths that stand in it, besides what it hands on.
    paths: BTreeSet<Vec<String>>,
}

impl Krate {
    /// Reads a crate from its root file on; test modules are left out.
    pub(crate) fn read(root: &Path) -> Self {
        let mut modules = BTreeMap::new();
        read_module(root, root.parent().unwrap(), Vec::new(), &mut modules);
        Self { modules }
    }

    /// Who uses whom, file by file.
    pub(crate) fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (from, source) in &self.modules {
            let targets = source.paths.iter().filter_map(|path| self.home(path.clone(), 0));
            let targets = targets.filter(|to| to != from).map(|to| to.join("::"));
            arrows.entry(from.join("::")).or_default().extend(targets);
        }
        arrows
    }

    /// The module that defines what a path names.
    fn home(&self, path: Vec<String>, depth: usize) -> Option<Module> {
        assert!(depth < 32, "{path:?} is handed on in a circle");
        let mut module = Module::new();
        for (at, name) in path.iter().enumerate() {
            module.push(name.clone());
            if self.modules.contains_key(&module) {
                continue;
            }
            module.pop();
            let handed_on = self.modules[&module].uses.get(name);
            return match handed_on {
                Some(target) => {
                    let rest = path[at + 1..].iter().cloned();
                    self.home(target.iter().cloned().chain(rest).collect(), depth + 1)
                }
                None => Some(module),
            };
        }
        Some(module)
    }
}

/// The top-level module that a path begins with.
pub(crate) fn room(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

/// The arrows between top-level modules.
pub(crate) fn rooms(arrows: &Arrows) -> Arrows {
    let mut rooms = Arrows::new();
    for (from, to) in arrows.iter().filter(|(from, _)| !from.is_empty()) {
        let others = to.iter().map(|to| room(to)).filter(|to| *to != room(from)).map(str::to_owned);
        rooms.entry(room(from).to_owned()).or_default().extend(others);
    }
    rooms
}

/// Modules that reach each other, in groups; none where the arrows run one way.
pub(crate) fn circles(arrows: &Arrows) -> Vec<Vec<String>> {
    let reach: BTreeMap<&String, BTreeSet<&String>> =
        arrows.keys().map(|from| (from, reachable(arrows, from))).collect();
    let mut circles = Vec::new();
    let mut seen: BTreeSet<&String> = BTreeSet::new();
    for (from, reached) in reach.iter().filter(|(from, reached)| reached.contains(*from)) {
        if seen.contains(from) {
            continue;
        }
        let circle: Vec<_> =
            reached.iter().filter(|to| reach.get(**to).is_some_and(|back| back.contains(*from))).collect();
        seen.extend(circle.iter().copied());
        circles.push(circle.into_iter().map(|module| describe(module, arrows, reached)).collect());
    }
    circles
}

fn describe(module: &String, arrows: &Arrows, circle: &BTreeSet<&String>) -> String {
    let within: Vec<_> = arrows[module].iter().filter(|to| circle.contains(to)).map(String::as_str).collect();
    format!("{module} -> {}", within.join(", "))
}

fn reachable<'a>(arrows: &'a BTreeMap<String, BTreeSet<String>>, from: &String) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&String> = arrows.get(from).into_iter().flatten().collect();
    while let Some(next) = open.pop() {
        if reached.insert(next) {
            open.extend(arrows.get(next).into_iter().flatten());
        }
    }
    reached
}

fn read_module(file: &Path, folder: &Path, module: Module, modules: &mut BTreeMap<Module, Source>) {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let items = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display())).items;
    read_items(&items, folder, module, modules);
}

fn read_items(items: &[Item], folder: &Path, module: Module, modules: &mut BTreeMap<Module, Source>) {
    let children: BTreeSet<String> = items.iter().filter_map(child).map(|child| child.ident.to_string()).collect();
    let mut reader = Reader { module: &module, children, source: Source::default() };
    items.iter().filter(|item| !is_test(attributes(item))).for_each(|item| reader.visit_item(item));
    let Reader { source, .. } = reader;
    modules.insert(module.clone(), source);
    for child in items.iter().filter_map(child).filter(|child| !is_test(&child.attrs)) {
        let name = child.ident.to_string();
        let inside: Module = module.iter().cloned().chain([name.clone()]).collect();
        match &child.content {
            Some((_, items)) => read_items(items, &folder.join(&name), inside, modules),
            None => {
                let file = file_of(folder, &name);
                let is_generated = file.components().any(|part| part.as_os_str() == "gen");
                if !is_generated {
                    read_module(&file, &folder.join(&name), inside, modules);
                }
            }
        }
    }
}

fn child(item: &Item) -> Option<&syn::ItemMod> {
    match item {
        Item::Mod(child) => Some(child),
        _ => None,
    }
}

fn file_of(folder: &Path, name: &str) -> PathBuf {
    let file = folder.join(format!("{name}.rs"));
    if file.exists() { file } else { folder.join(name).join("mod.rs") }
}

fn attributes(item: &Item) -> &[syn::Attribute] {
    match item {
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Const(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether it exists in tests only: `cfg(test)`, or behind the feature `testing`.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    let cfgs = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    cfgs.filter_map(|cfg| cfg.meta.require_list().ok()).any(|cfg| {
        let text = cfg.tokens.to_string();
        text == "test" || text.contains("\"testing\"")
    })
}

/// Gathers the paths of one module.
struct Reader<'a> {
    module: &'a Module,
    children: BTreeSet<String>,
    source: Source,
}

impl Reader<'_> {
    /// From the crate's root on; none for what is not of this crate.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some(self.module.iter().chain(rest).cloned().collect()),
            "super" => {
                let ups = 1 + rest.iter().take_while(|name| *name == "super").count();
                let base = self.module.get(..self.module.len().checked_sub(ups)?)?;
                Some(base.iter().chain(&rest[ups - 1..]).cloned().collect())
            }
            child if self.children.contains(child) && !rest.is_empty() => {
                Some(self.module.iter().chain(path).cloned().collect())
            }
            _ => None,
        }
    }

    fn read_use(&mut self, tree: &UseTree, before: &mut Vec<String>, handed_on: bool) {
        let (name, here) = match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.read_use(&path.tree, before, handed_on);
                before.pop();
                return;
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.read_use(tree, before, handed_on));
                return;
            }
            UseTree::Name(name) => (name.ident.to_string(), name.ident.to_string()),
            UseTree::Rename(rename) => (rename.ident.to_string(), rename.rename.to_string()),
            UseTree::Glob(_) => {
                if !handed_on {
                    self.source.paths.extend(self.absolute(before));
                }
                return;
            }
        };
        let is_self = name == "self";
        let path: Vec<String> = before.iter().cloned().chain((!is_self).then_some(name)).collect();
        let Some(path) = self.absolute(&path) else { return };
        let here = if here == "self" { path.last().cloned().unwrap_or_default() } else { here };
        self.source.uses.insert(here, path.clone());
        if !handed_on {
            self.source.paths.insert(path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_mod(&mut self, _: &'ast syn::ItemMod) {}

    /// Who may see something is not what it uses.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let handed_on = !matches!(item.vis, syn::Visibility::Inherited);
        self.read_use(&item.tree, &mut Vec::new(), handed_on);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.source.paths.extend(self.absolute(&names));
        syn::visit::visit_path(self, path);
    }

    /// Arguments of macros are only tokens: paths in them are read as they stand.
    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        let text: String = item.tokens.to_string().split_whitespace().collect();
        for (at, _) in text.match_indices("crate::") {
            let rest = text[at..].split(|letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == ':'));
            let path: Vec<String> = rest.take(1).flat_map(|path| path.split("::")).map(str::to_owned).collect();
            self.source.paths.extend(self.absolute(&path));
        }
    }
}
