//! Tags that come a character at a time.

/// What a character was.
pub(super) enum Tag {
    /// A part of a tag.
    More,
    /// The last of this one.
    Whole(&'static str),
}

/// Goes on with a tag of which `begun` bytes stand at the end of `held`, or begins one. `None`: it
/// is none, and `c` was not taken.
pub(super) fn match_tag(held: &mut String, begun: &mut usize, c: char, tags: &[&'static str]) -> Option<Tag> {
    let text = held[held.len() - *begun..].to_string() + c.encode_utf8(&mut [0; 4]);
    let Some(tag) = tags.iter().find(|tag| tag.starts_with(&text)) else {
        *begun = 0;
        return None;
    };
    held.push(c);
    *begun = if tag.len() == text.len() { 0 } else { text.len() };
    Some(if *begun == 0 { Tag::Whole(tag) } else { Tag::More })
}
