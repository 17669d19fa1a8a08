//! The block formats: a file of `formats/` each, found by build.rs.

/// A file of `formats/`.
struct File {
    /// Its name; in capitals the format's, as GGUF has it.
    name: &'static str,
    text: &'static str,
}

// FILES, by their names.
include!(concat!(env!("OUT_DIR"), "/formats.rs"));

/// Some of the block formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Formats(u32);

impl Formats {
    /// Those of these names, as GGUF has them. `None`: one of them has no file.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let number = |name: &str| FILES.iter().position(|file| file.name.eq_ignore_ascii_case(name));
        names.into_iter().try_fold(Self(0), |all, name| Some(Self(all.0 | 1 << number(name)?)))
    }

    /// All that there are.
    pub fn all() -> Self {
        Self((1 << FILES.len()) - 1)
    }

    /// Their names, as the files have them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.files().map(|file| file.name)
    }

    fn files(self) -> impl Iterator<Item = &'static File> {
        (0..).zip(FILES).filter(move |(number, _)| self.0 >> number & 1 == 1).map(|(_, file)| file)
    }

    /// What a kernel with a matrix begins with.
    pub(crate) fn matrix(self, source: &mut String) {
        let files: Vec<&File> = self.files().collect();
        expand(include_str!(concat!(env!("OUT_DIR"), "/linear/matrix.wgsl")), &files, source);
        source.push_str(include_str!(concat!(env!("OUT_DIR"), "/linear/codes.wgsl")));
        source.extend(files.iter().map(|file| file.text));
    }
}

/// The lines of a text, each with EACH once for every format but the last, which is what `last`
/// stands for.
fn expand(text: &str, formats: &[&File], source: &mut String) {
    let Some((last, others)) = formats.split_last() else { return };
    for line in text.lines() {
        if line.contains("== EACH") {
            for format in others {
                let line = line.replace("EACH", &format.name.to_uppercase());
                source.extend([&line.replace("_each(", &format!("_{}(", format.name)), "\n"]);
            }
        } else {
            source.extend([&line.replace("_last(", &format!("_{}(", last.name)), "\n"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "fn f() {\n  if (x == EACH) { return f_each(x); }\n  return f_last(x);\n}\n";

    fn expanded(names: &[&str]) -> String {
        let mut source = String::new();
        expand(TEXT, &Formats::of(names.iter().copied()).unwrap().files().collect::<Vec<_>>(), &mut source);
        source
    }

    #[test]
    fn a_line_for_each_format_but_the_last() {
        assert_eq!(expanded(&["Q6_K"]), "fn f() {\n  return f_q6_k(x);\n}\n");
        let two = "fn f() {\n  if (x == Q4_K) { return f_q4_k(x); }\n  return f_q6_k(x);\n}\n";
        assert_eq!((expanded(&["Q6_K", "Q4_K"]), expanded(&["Q4_K", "Q6_K", "Q4_K"])), (two.into(), two.into()));
        assert_eq!(Formats::of(["Q4_K", "Q99"]), None);
        assert_eq!(expanded(&Formats::all().names().collect::<Vec<_>>()).lines().count(), FILES.len() + 2);
    }
}
