//! Python's format specifications: width, sign, digits.

use minijinja::Error;

use super::arguments::{check_width, wrong};
use super::print::signed_exponent;

/// `[[fill]align][sign][#][0][width][grouping][.precision]`.
#[derive(Debug, Clone, Default)]
pub struct Spec {
    pub fill: Option<char>,
    pub align: Option<char>,
    pub sign: Option<char>,
    pub alternate: bool,
    pub zero: bool,
    pub width: usize,
    pub grouping: Option<char>,
    pub precision: Option<usize>,
}

impl Spec {
    /// A specification as `format` has it, and the type at its end.
    pub fn parse(text: &str) -> Result<(Self, Option<char>), Error> {
        let mut spec = Self::default();
        let chars: Vec<char> = text.chars().collect();
        let is_align = |at: usize| chars.get(at).is_some_and(|c| "<>=^".contains(*c));
        let mut at = 0;
        if is_align(1) {
            (spec.fill, spec.align, at) = (Some(chars[0]), Some(chars[1]), 2);
        } else if is_align(0) {
            (spec.align, at) = (Some(chars[0]), 1);
        }
        let one = |at: &mut usize, of: &str| {
            let found = chars.get(*at).copied().filter(|c| of.contains(*c));
            *at += usize::from(found.is_some());
            found
        };
        spec.sign = one(&mut at, "+- ");
        spec.alternate = one(&mut at, "#").is_some();
        spec.zero = one(&mut at, "0").is_some();
        if spec.zero && spec.align.is_none() {
            (spec.fill, spec.align) = (Some('0'), Some('='));
        }
        let number = |at: &mut usize| -> Result<Option<usize>, Error> {
            let digits: String = chars[*at..].iter().take_while(|c| c.is_ascii_digit()).collect();
            *at += digits.len();
            let parsed =
                (!digits.is_empty()).then(|| digits.parse::<u64>().map_err(|_| wrong("too many digits in a format")));
            parsed.transpose()?.map(check_width).transpose()
        };
        spec.width = number(&mut at)?.unwrap_or(0);
        spec.grouping = chars.get(at).copied().filter(|c| ",_".contains(*c));
        at += usize::from(spec.grouping.is_some());
        if chars.get(at) == Some(&'.') {
            at += 1;
            spec.precision = Some(number(&mut at)?.ok_or_else(|| wrong("format specifier missing precision"))?);
        }
        let kind = chars.get(at).copied();
        match (kind, chars.len() - at.min(chars.len())) {
            (None, _) => Ok((spec, None)),
            (Some(kind), 1) if "bcdeEfFgGnosxX%".contains(kind) => Ok((spec, Some(kind))),
            _ => Err(wrong(format!("invalid format specifier {text:?}"))),
        }
    }

    /// A text in its width; a prefix (sign, 0x) stays in front of zeros.
    pub fn pad(&self, prefix: &str, digits: &str) -> String {
        let missing = self.width.saturating_sub(prefix.chars().count() + digits.chars().count());
        let fill = self.fill.unwrap_or(if self.zero { '0' } else { ' ' });
        let some = |count: usize| fill.to_string().repeat(count);
        match self.align.unwrap_or('>') {
            '<' => format!("{prefix}{digits}{}", some(missing)),
            '^' => format!("{}{prefix}{digits}{}", some(missing / 2), some(missing - missing / 2)),
            '=' => format!("{prefix}{}{digits}", some(missing)),
            _ => format!("{}{prefix}{digits}", some(missing)),
        }
    }

    /// With its sign.
    pub fn signed(&self, negative: bool, base: &str, digits: &str) -> String {
        let sign = match self.sign {
            _ if negative => "-",
            Some('+') => "+",
            Some(' ') => " ",
            _ => "",
        };
        self.pad(&format!("{sign}{base}"), digits)
    }

    /// An integer in base 10, 2, 8 or 16, of `least` digits or more.
    pub fn integer(&self, value: i128, kind: char, least: usize) -> String {
        let magnitude = value.unsigned_abs();
        let (digits, base) = match kind {
            'b' => (format!("{magnitude:b}"), "0b"),
            'o' => (format!("{magnitude:o}"), "0o"),
            'x' => (format!("{magnitude:x}"), "0x"),
            'X' => (format!("{magnitude:X}"), "0X"),
            _ => (magnitude.to_string(), ""),
        };
        let mut digits = "0".repeat(least.saturating_sub(digits.len())) + &digits;
        let base = if self.alternate { base } else { "" };
        if let Some(separator) = self.grouping {
            let every = if kind == 'd' { 3 } else { 4 };
            let taken = base.len() + usize::from(value < 0 || self.sign.is_some_and(|sign| sign != '-'));
            digits = self.grouped(digits, separator, every, taken);
        }
        self.signed(value < 0, base, &digits)
    }

    /// Separators between groups; zeros that fill the width are grouped too.
    fn grouped(&self, mut digits: String, separator: char, every: usize, taken: usize) -> String {
        if self.fill == Some('0') && self.align == Some('=') {
            let wanted = self.width.saturating_sub(taken);
            // Every so many characters from the end there is a separator; one that would come first
            // gets a digit before it.
            let (separators, rest) = (wanted / (every + 1), wanted % (every + 1));
            let least = wanted - separators + usize::from(wanted > 0 && rest == 0);
            let zeros = least.saturating_sub(digits.len());
            digits.insert_str(0, &"0".repeat(zeros));
        }
        let count = digits.len();
        let mut out = String::with_capacity(count + count / every);
        for (at, c) in digits.chars().enumerate() {
            if at > 0 && (count - at).is_multiple_of(every) {
                out.push(separator);
            }
            out.push(c);
        }
        out
    }

    /// A float in one of `eEfFgGn%`.
    pub fn float(&self, value: f64, kind: Option<char>) -> Result<String, Error> {
        let negative = value.is_sign_negative() && !value.is_nan();
        let kind = kind.unwrap_or('g');
        let mut digits = match kind {
            'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
                float_digits(value.abs(), kind.to_ascii_lowercase(), self.precision, self.alternate, false)
            }
            'n' => float_digits(value.abs(), 'g', self.precision, self.alternate, false),
            '%' => float_digits(value.abs() * 100.0, 'f', self.precision, self.alternate, false) + "%",
            other => return Err(wrong(format!("unknown format code {other:?} for a float"))),
        };
        if kind.is_ascii_uppercase() {
            digits = digits.to_uppercase();
        }
        if let Some(separator) = self.grouping {
            let whole = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            let rest = digits.split_off(whole);
            let taken = rest.len() + usize::from(negative || self.sign.is_some_and(|sign| sign != '-'));
            digits = self.grouped(digits, separator, 3, taken) + &rest;
        }
        Ok(self.signed(negative, "", &digits))
    }
}

/// Digits of a number that is not negative. `dot` is what `format` without a type asks for: at
/// least one digit after the point.
pub fn float_digits(value: f64, kind: char, precision: Option<usize>, alternate: bool, dot: bool) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return "inf".into();
    }
    // Doubles have no more than 1,074 digits after the point; the rest are zeros.
    let precision = precision.unwrap_or(6).min(60_000);
    let exponential = |precision: usize| {
        let text = format!("{value:.precision$e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let point = if alternate && precision == 0 { "." } else { "" };
        (format!("{mantissa}{point}"), exponent.to_string())
    };
    match kind {
        'f' if alternate && precision == 0 => format!("{value:.0}."),
        'f' => format!("{value:.precision$}"),
        'e' => {
            let (mantissa, exponent) = exponential(precision);
            mantissa + &signed_exponent(&exponent)
        }
        _ => {
            let significant = precision.max(1);
            let (mantissa, exponent) = exponential(significant - 1);
            let power: i64 = exponent.parse().unwrap_or(0);
            let bare = |text: String| match text.contains('.') && !alternate {
                true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
                false => text,
            };
            if (-4..significant as i64 - i64::from(dot)).contains(&power) {
                let decimals = (significant as i64 - 1 - power).max(0) as usize;
                let text = bare(format!("{value:.decimals$}"));
                if dot && !text.contains('.') { text + ".0" } else { text }
            } else {
                bare(mantissa) + &signed_exponent(&exponent)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Python: as few zeros as fill the width.
    #[test]
    fn grouped_zeros_fill_the_width() {
        for (every, width, len) in [(3, 0..30, 1..12), (4, 0..30, 1..12)]
            .into_iter()
            .flat_map(|(every, widths, lens)| widths.flat_map(move |w| lens.clone().map(move |l| (every, w, l))))
        {
            let spec = Spec { fill: Some('0'), align: Some('='), width, ..Spec::default() };
            let digits = "7".repeat(len);
            let found = spec.grouped(digits.clone(), ',', every, 0);
            let size = |digits: usize| digits + (digits - 1) / every;
            let least = (len..).find(|digits| size(*digits) >= width).unwrap();
            assert_eq!(found.replace(',', ""), "0".repeat(least - len) + &digits, "{every} {width} {len}");
            assert_eq!(found.len(), size(least), "{every} {width} {len}");
        }
    }
}
