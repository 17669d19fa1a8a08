//! Near-equal WGSL, written once: `//: for` loops and `{...}` places, which a build replaces by
//! what they stand for, and `//: if` lines, which only a variant of the file has. What comes out is
//! plain WGSL, as a person would have written it line by line. README.md has the rules; build.rs
//! and the tests use this.

/// What a loop's variable is in one of its rounds.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Number(u64),
    Word(String),
}

/// The variables of the loops around a line.
type Scope = Vec<(String, Value)>;

/// Rounds of one loop: more than any kernel can mean.
const MOST_ROUNDS: u64 = 1024;

enum Node<'a> {
    Line(usize, &'a str),
    For(usize, &'a str, Vec<Node<'a>>),
    /// Lines of a variant, and those that all others have in their place.
    If(&'a str, Vec<Node<'a>>, Vec<Node<'a>>),
}

/// The text with its loops written out, as it is in a variant or in none.
///
/// # Errors
/// What is wrong, behind `file` and the number of the line.
pub fn expand(file: &str, text: &str, variant: Option<&str>) -> Result<String, String> {
    let mut lines = (1..).zip(text.lines());
    let nodes = parse(&mut lines).map_err(|(line, what)| format!("{file}:{line}: {what}"))?;
    let mut out = String::with_capacity(2 * text.len());
    write(&nodes, variant, &mut Scope::new(), &mut out).map_err(|(line, what)| format!("{file}:{line}: {what}"))?;
    Ok(out)
}

/// The variant that a file has lines for, if any: there is one at most.
///
/// # Errors
/// Behind `file` and the number of the line that names a second one.
pub fn variant<'a>(file: &str, text: &'a str) -> Result<Option<&'a str>, String> {
    let mut found = None;
    for (number, line) in (1..).zip(text.lines()) {
        let Some(name) = directive(line).and_then(|directive| directive.strip_prefix("if ")).map(str::trim) else {
            continue;
        };
        if found.is_some_and(|found| found != name) {
            return Err(format!("{file}:{number}: `{name}` is a second variant"));
        }
        found = Some(name);
    }
    Ok(found)
}

fn directive(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix("//:").map(str::trim)
}

/// What the first line of a kernel's file says: `//: kernel, sums: step kv`, without `sums` where
/// it does not sum over lanes, without names where nothing comes before it. Behind a bar come the
/// pieces of its variant: `//: kernel: step | step more`.
#[derive(Debug, PartialEq, Eq)]
pub struct Kernel<'a> {
    pub sums: bool,
    /// The pieces that come before it, in order.
    pub pieces: Vec<&'a str>,
    /// The same of its variant.
    pub variant: Option<Vec<&'a str>>,
}

impl<'a> Kernel<'a> {
    fn is(directive: &str) -> bool {
        directive.strip_prefix("kernel").is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
    }

    /// `None`: the file is a piece.
    ///
    /// # Errors
    /// What is wrong with the line, behind `file` and its number.
    pub fn of(file: &str, text: &'a str) -> Result<Option<Self>, String> {
        let first = text.lines().next().and_then(|line| line.strip_prefix("//:")).map(str::trim);
        let Some(line) = first.filter(|line| Self::is(line)) else { return Ok(None) };
        let (kind, pieces) = line.split_once(':').unwrap_or((line, ""));
        let (pieces, variant) = match pieces.split_once('|') {
            Some((pieces, variant)) => (pieces, Some(variant.split_whitespace().collect::<Vec<_>>())),
            None => (pieces, None),
        };
        let pieces: Vec<&str> = pieces.split_whitespace().collect();
        let sums = match kind.trim() {
            "kernel" => false,
            "kernel, sums" => true,
            _ => return Err(format!("{file}:1: `//: {line}`: expected `kernel`, `, sums` and `: NAMES` of pieces")),
        };
        match pieces.iter().chain(variant.iter().flatten()).find(|name| !is_name(name)) {
            Some(name) => Err(format!("{file}:1: `{name}` is no name of a piece")),
            None => Ok(Some(Self { sums, pieces, variant })),
        }
    }
}

/// Where and what.
type Wrong = (usize, String);

/// All lines.
fn parse<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>) -> Result<Vec<Node<'a>>, Wrong> {
    match block(lines)? {
        (nodes, None) => Ok(nodes),
        (_, Some((number, word))) => Err((number, format!("`{word}` without a `for` or an `if`"))),
    }
}

/// Lines, and where they end before the text does: the line of an `end` or `else`.
type Block<'a> = (Vec<Node<'a>>, Option<(usize, &'a str)>);

/// Lines up to the `end` or `else` of the loop or variant that they are in.
fn block<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>) -> Result<Block<'a>, Wrong> {
    let mut nodes = Vec::new();
    while let Some((number, line)) = lines.next() {
        let Some(directive) = directive(line) else {
            nodes.push(Node::Line(number, line));
            continue;
        };
        if number == 1 && Kernel::is(directive) {
            continue;
        }
        if matches!(directive, "end" | "else") {
            return Ok((nodes, Some((number, directive))));
        }
        let open = |kind| (number, format!("this `{kind}` has no `end`"));
        if let Some(header) = directive.strip_prefix("for ") {
            let (body, end) = block(lines)?;
            match end {
                Some((_, "end")) => nodes.push(Node::For(number, header, body)),
                Some((number, _)) => return Err((number, "`else` without an `if`".into())),
                None => return Err(open("for")),
            }
        } else if let Some(name) = directive.strip_prefix("if ").map(str::trim).filter(|name| is_name(name)) {
            let (then, end) = block(lines)?;
            let others = match end {
                Some((_, "end")) => Vec::new(),
                Some((_, _)) => match block(lines)? {
                    (others, Some((_, "end"))) => others,
                    (_, Some((number, _))) => return Err((number, "a second `else`".into())),
                    (_, None) => return Err(open("if")),
                },
                None => return Err(open("if")),
            };
            nodes.push(Node::If(name, then, others));
        } else {
            let what = "expected `for NAME in ...`, `if NAME`, `else` or `end`";
            return Err((number, format!("`//: {directive}`: {what}")));
        }
    }
    Ok((nodes, None))
}

fn write(nodes: &[Node<'_>], variant: Option<&str>, scope: &mut Scope, out: &mut String) -> Result<(), Wrong> {
    for node in nodes {
        match node {
            Node::Line(number, line) => {
                substitute(line, scope, out).map_err(|what| (*number, what))?;
                out.push('\n');
            }
            Node::For(number, header, body) => {
                let rounds = rounds(header, scope).map_err(|what| (*number, what))?;
                for variables in rounds {
                    let outer = scope.len();
                    scope.extend(variables);
                    write(body, variant, scope, out)?;
                    scope.truncate(outer);
                }
            }
            Node::If(name, then, others) => {
                write(if variant == Some(name) { then } else { others }, variant, scope, out)?;
            }
        }
    }
    Ok(())
}

/// The variables of each round: of `i in 0..8`, `c in x y z w`, or `i, c in x y z w`, where i
/// counts from 0.
fn rounds(header: &str, scope: &Scope) -> Result<Vec<Scope>, String> {
    let shape = || format!("`{header}`: expected `NAME in 0..8`, `NAME in x y z` or `NUMBER, NAME in x y z`");
    let (names, values) = header.split_once(" in ").ok_or_else(shape)?;
    let names: Vec<&str> = names.split(',').map(str::trim).collect();
    for name in &names {
        if !is_name(name) {
            return Err(format!("`{name}` is no name of a variable"));
        }
        if scope.iter().any(|(known, _)| known == name) {
            return Err(format!("`{name}` is the variable of a loop around this one"));
        }
    }
    let values: Vec<Value> = match values.split_once("..") {
        Some((from, to)) if names.len() == 1 => {
            let (from, to) = (number(from, scope)?, number(to, scope)?);
            if from >= to || to - from > MOST_ROUNDS {
                return Err(format!("`{from}..{to}`: expected 1 to {MOST_ROUNDS} rounds"));
            }
            (from..to).map(Value::Number).collect()
        }
        Some(_) => return Err(shape()),
        None => values.split_whitespace().map(word).collect::<Result<_, _>>()?,
    };
    match names[..] {
        _ if values.is_empty() => Err(shape()),
        [name] => Ok(values.into_iter().map(|value| vec![(name.into(), value)]).collect()),
        [count, name] if count != name => Ok((0..)
            .zip(values)
            .map(|(i, value)| vec![(count.into(), Value::Number(i)), (name.into(), value)])
            .collect()),
        _ => Err(shape()),
    }
}

fn word(text: &str) -> Result<Value, String> {
    match text.parse() {
        Ok(number) => Ok(Value::Number(number)),
        Err(_) if text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => Ok(Value::Word(text.into())),
        Err(_) => Err(format!("`{text}` is neither a word nor a number")),
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A line with its places filled. A brace before a space, or outside of all loops, is WGSL's own.
fn substitute(line: &str, scope: &mut Scope, out: &mut String) -> Result<(), String> {
    let mut rest = line;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        let inside = &rest[at + 1..];
        if let Some(header) = inside.strip_prefix("for ") {
            rest = repeat(header, scope, out)?;
            continue;
        }
        let is_place = !scope.is_empty() && inside.starts_with(|c: char| c.is_ascii_alphanumeric() || "(+".contains(c));
        let Some(end) = inside.find('}').filter(|_| is_place) else {
            out.push('{');
            rest = inside;
            continue;
        };
        out.push_str(&place(&inside[..end], scope)?);
        rest = &inside[end + 1..];
    }
    out.push_str(rest);
    Ok(())
}

/// `{for i in 0..8 join " + "}...{end}` inside a line, behind its `for`. What is left of the line.
fn repeat<'a>(header: &'a str, scope: &mut Scope, out: &mut String) -> Result<&'a str, String> {
    let shape = || "expected `{for NAME in ... join \"...\"}...{end}` on one line".to_string();
    let (header, rest) = header.split_once('}').ok_or_else(shape)?;
    let (header, between) = header.split_once(" join ").ok_or_else(shape)?;
    let between = between.strip_prefix('"').and_then(|text| text.strip_suffix('"')).ok_or_else(shape)?;
    let (body, rest) = rest.split_once("{end}").filter(|(body, _)| !body.contains("{for ")).ok_or_else(shape)?;
    for (i, variables) in rounds(header, scope)?.into_iter().enumerate() {
        out.push_str(if i > 0 { between } else { "" });
        let outer = scope.len();
        scope.extend(variables);
        substitute(body, scope, out)?;
        scope.truncate(outer);
    }
    Ok(rest)
}

/// What stands in braces: a word, a number, or with a plus in front a term, which is nothing where
/// it is zero.
fn place(text: &str, scope: &Scope) -> Result<String, String> {
    if let Some((_, Value::Word(word))) = scope.iter().find(|(name, _)| name == text) {
        return Ok(word.clone());
    }
    let Some(term) = text.strip_prefix('+') else { return Ok(number(text, scope)?.to_string()) };
    let factor = term.rsplit_once('*').map(|(times, name)| (times, name.trim()));
    let factor = factor.filter(|(_, name)| is_name(name) && !scope.iter().any(|(known, _)| known == name));
    let times = number(factor.map_or(term, |(times, _)| times), scope)?;
    Ok(match (times, factor) {
        (0, _) => String::new(),
        (1, Some((_, name))) => format!(" + {name}"),
        (_, Some((_, name))) => format!(" + {times}u * {name}"),
        (_, None) => format!(" + {times}u"),
    })
}

/// A sum or product of whole numbers and variables.
fn number(text: &str, scope: &Scope) -> Result<u64, String> {
    let mut parser = Parser { rest: text, scope };
    let value = parser.sum()?;
    match parser.rest.trim_start() {
        "" => Ok(value),
        rest => Err(format!("`{text}`: `{rest}` is not understood")),
    }
}

struct Parser<'a> {
    rest: &'a str,
    scope: &'a Scope,
}

impl<'a> Parser<'a> {
    fn sum(&mut self) -> Result<u64, String> {
        let mut value = self.product()?;
        while let Some(sign) = self.one_of("+-") {
            let by = self.product()?;
            let made = if sign == '+' { value.checked_add(by) } else { value.checked_sub(by) };
            value = made.ok_or_else(|| format!("{value} {sign} {by} is out of range"))?;
        }
        Ok(value)
    }

    fn product(&mut self) -> Result<u64, String> {
        let mut value = self.single()?;
        while let Some(sign) = self.one_of("*/%") {
            let by = self.single()?;
            let made = match sign {
                '*' => value.checked_mul(by),
                '/' => value.checked_div(by),
                _ => value.checked_rem(by),
            };
            value = made.ok_or_else(|| format!("{value} {sign} {by} is out of range"))?;
        }
        Ok(value)
    }

    fn single(&mut self) -> Result<u64, String> {
        if self.one_of("(").is_some() {
            let value = self.sum()?;
            return self.one_of(")").map(|_| value).ok_or_else(|| "a `)` is missing".into());
        }
        let text = self.rest.trim_start();
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
        let (token, rest) = text.split_at(end);
        self.rest = rest;
        match self.scope.iter().find(|(name, _)| name == token) {
            Some((_, Value::Number(value))) => Ok(*value),
            Some((_, Value::Word(word))) => Err(format!("`{token}` is the word {word}, and no number")),
            None if is_name(token) => Err(format!("`{token}` is the variable of no loop around this line")),
            None => token.parse().map_err(|_| format!("expected a number or a variable, found `{text}`")),
        }
    }

    fn one_of(&mut self, signs: &str) -> Option<char> {
        let text = self.rest.trim_start();
        let sign = text.chars().next().filter(|c| signs.contains(*c))?;
        self.rest = &text[1..];
        Some(sign)
    }
}

#[cfg(test)]
mod tests {
    use super::{Kernel, expand, variant};

    fn made(text: &str) -> String {
        expand("a.wgsl", text, None).unwrap_or_else(|wrong| panic!("{wrong}"))
    }

    #[test]
    fn text_without_loops_stays_as_it_is() {
        let plain = "// a {b} and {i}\nfn f() {\n  for (var i = 0u; i < 2u; i++) {x();}\n  if (a) { return; }\n}\n";
        assert_eq!(made(plain), plain);
        assert_eq!(made(""), "");
    }

    #[test]
    fn loops_over_numbers_and_words() {
        assert_eq!(
            made("a\n  //: for i in 0..2\n  v_{i} = x[{4 * i + 1}u];\n  //: end\nb\n"),
            "a\n  v_0 = x[1u];\n  v_1 = x[5u];\nb\n"
        );
        assert_eq!(made("//: for c in x y\nw.{c};\n//: end\n"), "w.x;\nw.y;\n");
        assert_eq!(made("//: for i, c in x y\nw_{i}.{c};\n//: end\n"), "w_0.x;\nw_1.y;\n");
        assert_eq!(made("//: for at in 0 8\ns[p{+ at}];\n//: end\n"), "s[p];\ns[p + 8u];\n");
    }

    #[test]
    fn loops_inside_loops() {
        let text = "//: for i in 1..3\n//: for j in i..3\nc_{i}{j} {(i + j) / 2 % 2}\n//: end\n//: end\n";
        assert_eq!(made(text), "c_11 1\nc_12 1\nc_22 0\n");
    }

    #[test]
    fn terms_are_nothing_at_zero() {
        let text = "//: for i in 0..3\na[b{+ 16 * i}] c{+ i * row} d{+ 2 * i * row}\n//: end\n";
        assert_eq!(made(text), "a[b] c d\na[b + 16u] c + row d + 2u * row\na[b + 32u] c + 2u * row d + 4u * row\n");
    }

    #[test]
    fn runs_inside_a_line() {
        assert_eq!(made("x = {for i in 0..3 join \" + \"}v[{i}]{end};\n"), "x = v[0] + v[1] + v[2];\n");
        let text = "//: for c in x y\nn += {for i in 0..2 join \" + \"}s_{i}.{c}{end};\n//: end\n";
        assert_eq!(made(text), "n += s_0.x + s_1.x;\nn += s_0.y + s_1.y;\n");
    }

    #[test]
    fn inside_a_loop_braces_before_a_space_are_wgsls() {
        assert_eq!(
            made("//: for i in 0..1\nif (a) { x_{i} = 1; } else {}\n//: end\n"),
            "if (a) { x_0 = 1; } else {}\n"
        );
    }

    #[test]
    fn the_first_line_says_what_a_kernel_is_made_of() {
        let of = |text| Kernel::of("a.wgsl", text);
        let kernel = |sums, pieces: &[&'static str]| Ok(Some(Kernel { sums, pieces: pieces.to_vec(), variant: None }));
        assert_eq!(of("//: kernel\nx"), kernel(false, &[]));
        assert_eq!(of("//: kernel, sums\n"), kernel(true, &[]));
        assert_eq!(of("//: kernel: step kv_append\n"), kernel(false, &["step", "kv_append"]));
        assert_eq!(of("//: kernel, sums: step\n"), kernel(true, &["step"]));
        for piece in ["", "// x\n", "x\n//: kernel\n", "//: kernels\n"] {
            assert_eq!(of(piece), Ok(None), "{piece}");
        }
        assert!(of("//: kernel sums\n").unwrap_err().starts_with("a.wgsl:1: `//: kernel sums`: expected"));
        assert!(of("//: kernel: step, kv\n").unwrap_err().starts_with("a.wgsl:1: `step,` is no name"));
        // It is not WGSL, and other lines keep their numbers.
        assert_eq!(made("//: kernel: step\n//: for i in 0..2\n{i}\n//: end\n"), "0\n1\n");
        assert!(expand("a.wgsl", "//: kernel\n//: end\n", None).unwrap_err().starts_with("a.wgsl:2:"));
        assert!(expand("a.wgsl", "x\n//: kernel\n", None).unwrap_err().starts_with("a.wgsl:2:"));
    }

    #[test]
    fn a_variant_has_lines_of_its_own() {
        let text =
            "//: kernel: step | step more\na\n//: if b\nb\n//: for i in 0..2\n{i}\n//: end\n//: else\nc\n//: end\nd\n";
        assert_eq!(made(text), "a\nc\nd\n");
        assert_eq!(expand("a.wgsl", text, Some("b")).unwrap(), "a\nb\n0\n1\nd\n");
        assert_eq!(made("//: for i in 0..2\n//: if b\nb\n//: end\n{i}\n//: end\n"), "0\n1\n");
        assert_eq!(variant("a.wgsl", text), Ok(Some("b")));
        assert_eq!(variant("a.wgsl", "x\n"), Ok(None));
        let two = variant("a.wgsl", "//: if b\n//: end\n//: if c\n//: end\n");
        assert_eq!(two, Err("a.wgsl:3: `c` is a second variant".into()));
        let kernel = Kernel::of("a.wgsl", text).unwrap().unwrap();
        assert_eq!((kernel.pieces, kernel.variant), (vec!["step"], Some(vec!["step", "more"])));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let wrong = |text: &str, expected: &str| {
            let found = expand("a.wgsl", text, None).unwrap_err();
            assert!(found.starts_with("a.wgsl:") && found.contains(expected), "{text}: {found}");
        };
        wrong("x\n//: end\n", "a.wgsl:2: `end` without a `for` or an `if`");
        wrong("x\n//: else\n", "a.wgsl:2: `else` without");
        wrong("//: for i in 0..2\n//: else\n//: end\n", "a.wgsl:2: `else` without an `if`");
        wrong("//: if a\ny\n", "a.wgsl:1: this `if` has no `end`");
        wrong("//: if a\n//: else\n", "a.wgsl:1: this `if` has no `end`");
        wrong("//: if a\n//: else\n//: else\n//: end\n", "a.wgsl:3: a second `else`");
        wrong("//: if 1\n//: end\n", ":1: `//: if 1`: expected");
        wrong("x\n//: for i in 0..2\ny\n", "a.wgsl:2: this `for` has no `end`");
        wrong("//: loop\n", ":1: `//: loop`: expected");
        wrong("//: for i\n//: end\n", ":1: `i`: expected");
        wrong("//: for i in\n//: end\n", "expected");
        wrong("//: for i, j in 0..2\n//: end\n", ":1: `i, j in 0..2`: expected");
        wrong("//: for i, i in a b\n//: end\n", "expected");
        wrong("//: for 1 in a b\n//: end\n", "`1` is no name");
        wrong("//: for i in a-b\n//: end\n", "`a-b` is neither");
        wrong("//: for i in 2..2\n//: end\n", "`2..2`: expected");
        wrong("//: for i in 0..9999\n//: end\n", "`0..9999`: expected");
        wrong("//: for i in 0..2\n//: for i in 0..2\n//: end\n//: end\n", ":2: `i` is the variable of a loop around");
        wrong("//: for i in 0..2\n\n{j}\n//: end\n", ":3: `j` is the variable of no loop");
        wrong("//: for c in x y\n{c + 1}\n//: end\n", ":2: `c` is the word x, and no number");
        wrong("//: for i in 0..2\n{i - 1}\n//: end\n", ":2: 0 - 1 is out of range");
        wrong("//: for i in 0..2\n{1 / i}\n//: end\n", "1 / 0 is out of range");
        wrong("//: for i in 0..2\n{(i}\n//: end\n", "a `)` is missing");
        wrong("//: for i in 0..2\n{i i}\n//: end\n", "`i` is not understood");
        wrong("//: for i in 0..2\n{4 *}\n//: end\n", "expected a number or a variable");
        wrong("{for i in 0..2}x{end}\n", "expected `{for NAME");
        wrong("{for i in 0..2 join \", \"}x\n", "expected `{for NAME");
    }
}
