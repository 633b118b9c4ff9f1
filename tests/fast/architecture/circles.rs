//! No two files of `src` import each other in a circle. The layers see only the folders at the top.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::Visit;

/// A module by its path below the crate, such as `["plan", "serve"]`.
type Module = Vec<String>;

/// A file as the compiler sees it, without tests.
struct File {
    path: String,
    /// Names that `use` brings in, with their whole path; `true` for a re-export.
    imports: Vec<(String, Vec<String>, bool)>,
    /// Paths of at least two segments in the code.
    paths: Vec<Vec<String>>,
}

/// Collects imports and paths; what is only for tests is left out.
#[derive(Default)]
struct Collector {
    imports: Vec<(String, Vec<String>, bool)>,
    paths: Vec<Vec<String>>,
}

fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && matches!(&attribute.meta, syn::Meta::List(list) if list.tokens.to_string() == "test")
    })
}

impl Collector {
    fn flatten(&mut self, tree: &syn::UseTree, mut prefix: Vec<String>, is_reexport: bool) {
        match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.flatten(&path.tree, prefix, is_reexport);
            }
            syn::UseTree::Name(name) if name.ident == "self" => {
                let local = prefix.last().cloned().unwrap_or_default();
                self.imports.push((local, prefix, is_reexport));
            }
            syn::UseTree::Name(name) => {
                prefix.push(name.ident.to_string());
                self.imports.push((name.ident.to_string(), prefix, is_reexport));
            }
            syn::UseTree::Rename(rename) => {
                if rename.ident != "self" {
                    prefix.push(rename.ident.to_string());
                }
                self.imports
                    .push((rename.rename.to_string(), prefix, is_reexport));
            }
            syn::UseTree::Glob(_) => self.imports.push(("*".to_owned(), prefix, is_reexport)),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.flatten(tree, prefix.clone(), is_reexport);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes: &[syn::Attribute] = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            _ => &[],
        };
        if !is_test_only(attributes) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_reexport = !matches!(item.vis, syn::Visibility::Inherited);
        self.flatten(&item.tree, Vec::new(), is_reexport);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if segments.len() > 1 {
            self.paths.push(segments);
        }
        syn::visit::visit_path(self, path);
    }

    // `pub(in path)` says who may see an item, not what the file needs.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}

fn module_of(path: &str) -> Module {
    let mut parts: Module = path
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    match parts.last().map(String::as_str) {
        Some("mod") => drop(parts.pop()),
        Some("lib") if parts.len() == 1 => parts.clear(),
        _ => {}
    }
    parts
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut found = Collector::default();
        found.visit_file(&file);
        let Collector { imports, paths } = found;
        let path = path.to_owned();
        Self { path, imports, paths }
    }
}

/// The module tree of the sources by path below `src`.
struct Tree(BTreeMap<Module, File>);

impl Tree {
    fn new(sources: &BTreeMap<String, String>) -> Self {
        let files = sources
            .iter()
            .map(|(path, text)| (module_of(path), File::new(path, text)));
        Self(files.collect())
    }

    /// The module in which the item at `path` is defined, as seen from `from`; `None` outside of the crate.
    fn resolve(&self, from: &Module, path: &[String], depth: usize) -> Option<Module> {
        let mut module: Module = match path.first()?.as_str() {
            "crate" => Vec::new(),
            "self" => from.clone(),
            "super" => from[..from.len().checked_sub(1)?].to_vec(),
            first => {
                let mut child = from.clone();
                child.push(first.to_owned());
                if !self.0.contains_key(&child) {
                    return None;
                }
                from.clone()
            }
        };
        let mut rest = match path[0].as_str() {
            "crate" | "self" | "super" => &path[1..],
            _ => path,
        };
        while let Some("super") = rest.first().map(String::as_str) {
            module.pop();
            rest = &rest[1..];
        }
        while let Some(next) = rest.first() {
            let mut child = module.clone();
            child.push(next.clone());
            if !self.0.contains_key(&child) {
                break;
            }
            module = child;
            rest = &rest[1..];
        }
        if let Some(name) = rest.first()
            && depth < 8
        {
            let reexports = self.0[&module]
                .imports
                .iter()
                .filter(|(_, _, is_reexport)| *is_reexport);
            for (local, target, _) in reexports {
                if local == name
                    && let Some(found) = self.resolve(&module, target, depth + 1)
                {
                    return Some(found);
                }
            }
        }
        Some(module)
    }

    /// For each module, in order, the places of the modules that it needs.
    fn needs(&self) -> Vec<BTreeSet<usize>> {
        let places: BTreeMap<&Module, usize> = self.0.keys().zip(0..).collect();
        let mut needs = Vec::new();
        for (module, file) in &self.0 {
            let own: BTreeMap<&String, &Vec<String>> = file
                .imports
                .iter()
                .map(|(local, target, _)| (local, target))
                .collect();
            let imported = file
                .imports
                .iter()
                .filter(|(_, _, is_reexport)| !is_reexport)
                .map(|(_, target, _)| target.clone());
            let named = file.paths.iter().map(|path| match own.get(&path[0]) {
                Some(target) => [target.as_slice(), &path[1..]].concat(),
                None => path.clone(),
            });
            let targets: BTreeSet<Vec<String>> = imported.chain(named).collect();
            let found = targets.iter().filter_map(|path| self.resolve(module, path, 0));
            let mut found: BTreeSet<usize> = found.map(|found| places[&found]).collect();
            found.remove(&places[module]);
            needs.push(found);
        }
        needs
    }

    /// Groups of files of which each needs each.
    fn circles(&self) -> Vec<Vec<&str>> {
        let needs = self.needs();
        let reached: Vec<Vec<bool>> = (0..needs.len())
            .map(|from| {
                let (mut seen, mut open) = (vec![false; needs.len()], vec![from]);
                while let Some(place) = open.pop() {
                    for next in &needs[place] {
                        if !std::mem::replace(&mut seen[*next], true) {
                            open.push(*next);
                        }
                    }
                }
                seen
            })
            .collect();
        let files: Vec<&str> = self.0.values().map(|file| file.path.as_str()).collect();
        let mut circles: Vec<Vec<&str>> = Vec::new();
        for (place, seen) in reached.iter().enumerate().filter(|(place, seen)| seen[*place]) {
            let members: Vec<&str> = (0..files.len())
                .filter(|other| seen[*other] && reached[*other][place])
                .map(|other| files[other])
                .collect();
            if !circles.contains(&members) {
                circles.push(members);
            }
        }
        circles
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources = super::texts();
    assert_eq!(Tree::new(&sources).circles(), Vec::<Vec<&str>>::new());
}

#[test]
fn a_planted_circle_is_found() {
    let sources = super::texts();
    let mut tree = Tree::new(&sources);
    let mut plant = |path: &str, line: &str| {
        let text = format!("{}{line}", sources[path]);
        tree.0.insert(module_of(path), File::new(path, &text));
        let circles = tree.circles().into_iter();
        circles
            .map(|circle| circle.into_iter().map(str::to_owned).collect())
            .collect::<Vec<Vec<String>>>()
    };
    // By an import, by a path in the code, through a re-export of the folder, and with groups and other names.
    for line in [
        "\nuse crate::plan::serve::base_url;",
        "\nfn x() { crate::plan::serve::base_url(1); }",
        "\nuse crate::plan::base_url;",
        "\nuse super::serve::{self, base_url as url};",
    ] {
        let found = plant("plan/request.rs", line);
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        for path in ["plan/request.rs", "plan/serve.rs"] {
            assert!(found[0].iter().any(|member| member == path), "{line}: {found:?}");
        }
    }
    // A test may look at everything.
    assert!(
        plant(
            "plan/request.rs",
            "\n#[cfg(test)]\nmod more { use crate::plan::serve::base_url; }"
        )
        .is_empty()
    );
}
