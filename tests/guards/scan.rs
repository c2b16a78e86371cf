//! Reads Rust as far as imports go: what remains of a file without comments, literals and test modules, and the paths
//! in it that lead through the root of the crate.

/// The text with comments, strings and character literals blanked out; line breaks stay.
pub(crate) fn code_only(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after_word = out.chars().next_back().is_some_and(is_word);
        let skipped = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => string(rest),
            'r' if !after_word => raw_string(rest),
            'b' if !after_word && rest.starts_with("br") => raw_string(&rest[1..]).saturating_sub(1),
            '\'' => character(rest),
            _ => 0,
        };
        if skipped == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            out.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
            out.push(' ');
            rest = &rest[skipped..];
        }
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let here = &text.as_bytes()[at..];
        if here.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return i + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of `r"…"` or `r#"…"#`; 0 for a word that begins with r.
fn raw_string(text: &str) -> usize {
    let hashes = text[1..].bytes().take_while(|b| *b == b'#').count();
    let Some(body) = text[1 + hashes..].strip_prefix('"') else { return 0 };
    let end = format!("\"{}", "#".repeat(hashes));
    body.find(&end).map_or(text.len(), |i| text.len() - body.len() + i + end.len())
}

/// Length of `'x'` or `'\n'`; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => text[3..].find('\'').map_or(0, |i| 3 + i + 1),
        Some(_) => chars.next().filter(|(_, c)| *c == '\'').map_or(0, |(i, _)| i + 1),
        None => 0,
    }
}

/// Code without its `#[cfg(test)]` items; line breaks stay.
pub(crate) fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..start]);
        let item = &rest[start..];
        let end = match item.find(['{', ';']) {
            Some(open) if item.as_bytes()[open] == b'{' => open + matching(&item[open..]),
            Some(semicolon) => semicolon + 1,
            None => item.len(),
        };
        out.extend(item[..end].chars().filter(|c| *c == '\n'));
        rest = &item[end..];
    }
    out + rest
}

/// Modules declared as `#[cfg(test)] mod name;`: their files are tests too.
pub(crate) fn test_modules(code: &str) -> Vec<String> {
    let items = code.split("#[cfg(test)]").skip(1);
    let declared = items.filter_map(|item| {
        let item = item.trim_start();
        let item = item.strip_prefix("pub(crate) ").or_else(|| item.strip_prefix("pub(super) ")).unwrap_or(item);
        let (name, _) = item.strip_prefix("mod ")?.split_once(';')?;
        name.chars().all(is_word).then(|| name.to_owned())
    });
    declared.collect()
}

/// Length of a braced group.
fn matching(text: &str) -> usize {
    let mut depth = 0;
    for (i, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return i + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// An import: the line it is on, and the name that follows the crate's root.
pub(crate) type Import = (usize, String);

/// Every name that follows `crate::`, or as many `super::` as lead from a module `depth` levels down to the root.
pub(crate) fn root_imports(code: &str, depth: usize) -> Vec<Import> {
    let mut found = Vec::new();
    for root in ["crate::".to_owned(), "super::".repeat(depth)] {
        if root.is_empty() {
            continue;
        }
        for (at, _) in code.match_indices(&root) {
            let before = &code[..at];
            let is_path = !before.ends_with("::") && !before.chars().next_back().is_some_and(is_word);
            if is_path {
                let line = before.matches('\n').count() + 1;
                found.extend(first_names(&code[at + root.len()..]).into_iter().map(|name| (line, name)));
            }
        }
    }
    found.sort();
    found
}

/// The first segment of a path, or of every path of a group.
fn first_names(tree: &str) -> Vec<String> {
    let tree = tree.trim_start();
    let Some(group) = tree.strip_prefix('{') else {
        return vec![tree.chars().take_while(|c| is_word(*c) || *c == '*').collect()];
    };
    let inner = &group[..matching(tree).saturating_sub(2)];
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (i, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.extend(first_names(&inner[start..i]).into_iter().filter(|n| !n.is_empty()));
                start = i + 1;
            }
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(code: &str, depth: usize) -> String {
        let names = root_imports(&without_tests(&code_only(code)), depth);
        names.into_iter().map(|(line, name)| format!("{line}:{name}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn paths_and_groups_are_seen() {
        assert_eq!(imports("use crate::spec::Cell;\nlet a = crate::stats::median(&b);", 1), "1:spec 2:stats");
        let group = "use crate::{\n    measure::{Clock, Limits},\n    spec::Cell,\n    stats,\n};";
        assert_eq!(imports(group, 1), "1:measure 1:spec 1:stats");
        assert_eq!(imports("pub(crate) use crate::{{kernels}, params::*};", 1), "1:kernels 1:params");
        assert_eq!(imports("use crate::*; use $crate::spec;", 1), "1:* 1:spec");
        assert_eq!(imports("use mycrate::a; use other::crate::b;", 1), "");
    }

    #[test]
    fn super_counts_where_it_reaches_the_root() {
        assert_eq!(imports("use super::store::Row;", 1), "1:store");
        assert_eq!(imports("use super::store::Row;", 2), "");
        assert_eq!(imports("use super::super::{store, cli::run};", 2), "1:cli 1:store");
    }

    #[test]
    fn comments_literals_and_tests_are_not_code() {
        let code = "// crate::a\n/* crate::b /* */ crate::c */\nlet s = \"crate::d \\\" crate::e\";\nlet r = r#\"crate::f\"#;\n\
                    let c = ('\"', b'\\'', 'x'); fn f<'a>(x: &'a str) {} use crate::g;";
        assert_eq!(imports(code, 1), "5:g");
        let tested = "#[cfg(test)]\nmod tests {\n    use crate::a;\n    fn f() { let x = '{'; }\n}\nuse crate::b;\n#[cfg(test)]\nmod more;\nuse crate::c;";
        assert_eq!(imports(tested, 1), "6:b 9:c");
        assert_eq!(test_modules(tested), ["more"]);
    }
}
