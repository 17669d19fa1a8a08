//! `strftime_now`: the local time, in all of strftime's words as Python has them on Linux in the C
//! locale.

/// A moment of a clock on the wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub year: i64,
    /// From 1.
    pub month: i64,
    /// From 1.
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    pub microsecond: i64,
    /// Seconds since 1970 in UTC.
    pub unix: i64,
}

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl Moment {
    /// The time here: that of `TZ` and of the system. In a browser, that of the person's own clock.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn now() -> Self {
        Self::at(jiff::Timestamp::now(), &jiff::tz::TimeZone::system())
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn at(time: jiff::Timestamp, zone: &jiff::tz::TimeZone) -> Self {
        let local = zone.to_datetime(time);
        Self {
            year: local.year().into(),
            month: local.month().into(),
            day: local.day().into(),
            hour: local.hour().into(),
            minute: local.minute().into(),
            second: local.second().into(),
            microsecond: i64::from(local.subsec_nanosecond()) / 1000,
            unix: time.as_second(),
        }
    }

    /// The time here: that of `TZ` and of the system. In a browser, that of the person's own clock.
    #[cfg(target_arch = "wasm32")]
    pub fn now() -> Self {
        let now = js_sys::Date::new_0();
        Self {
            year: now.get_full_year().into(),
            month: i64::from(now.get_month()) + 1,
            day: now.get_date().into(),
            hour: now.get_hours().into(),
            minute: now.get_minutes().into(),
            second: now.get_seconds().into(),
            microsecond: i64::from(now.get_milliseconds()) * 1000,
            unix: (now.get_time() / 1000.0).floor() as i64,
        }
    }

    fn is_leap(year: i64) -> bool {
        year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    }

    /// Day of the year, from 0.
    fn day_of_year(&self) -> i64 {
        const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let leap = self.month > 2 && Self::is_leap(self.year);
        BEFORE[((self.month - 1) % 12) as usize] + self.day - 1 + i64::from(leap)
    }

    /// Day of the week, Sunday being 0.
    fn weekday(&self) -> i64 {
        let before = self.year - 1;
        (before * 365 + before / 4 - before / 100 + before / 400 + self.day_of_year() + 1).rem_euclid(7)
    }

    /// Year and week of ISO 8601: weeks begin on Monday and belong to the year of their Thursday.
    fn iso_week(&self) -> (i64, i64) {
        let monday = (self.weekday() + 6) % 7;
        let thursday = self.day_of_year() - monday + 3;
        let days = |year| 365 + i64::from(Self::is_leap(year));
        let (year, day) = match thursday {
            day if day < 0 => (self.year - 1, day + days(self.year - 1)),
            day if day >= days(self.year) => (self.year + 1, day - days(self.year)),
            day => (self.year, day),
        };
        (year, day / 7 + 1)
    }
}

/// What stands between `%` and the letter.
#[derive(Clone, Copy, Default)]
struct Flags {
    pad: Option<char>,
    upper: bool,
    swap: bool,
    width: usize,
}

impl Flags {
    fn number(&self, value: i64, digits: usize, pad: char) -> String {
        let width = self.width.max(digits);
        match self.pad.unwrap_or(pad) {
            '-' => format!("{value:>width$}", width = self.width),
            '_' => format!("{value:>width$}"),
            _ => format!("{value:0>width$}"),
        }
    }

    fn text(&self, text: &str) -> String {
        let text = if self.upper { text.to_uppercase() } else { text.to_string() };
        let missing = self.width.saturating_sub(text.len());
        let fill = if self.pad == Some('0') { "0" } else { " " };
        fill.repeat(missing) + &text
    }

    /// A name of a day or a month.
    fn name(&self, text: &str) -> String {
        Self { upper: self.upper || self.swap, pad: self.pad, width: self.width, swap: false }.text(text)
    }
}

/// `datetime.strftime(format)` of a moment without a time zone; an unknown code stays as it is.
pub fn strftime(format: &str, moment: &Moment) -> String {
    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let field = &rest[at + 1..];
        let mut flags = Flags::default();
        let mut chars = field.char_indices().peekable();
        while let Some((_, flag)) = chars.next_if(|(_, c)| "_-0^#".contains(*c)) {
            match flag {
                '^' => flags.upper = true,
                '#' => flags.swap = true,
                pad => flags.pad = Some(pad),
            }
        }
        while let Some((_, digit)) = chars.next_if(|(_, c)| c.is_ascii_digit()) {
            // No honest template fills a screen with zeros.
            flags.width = (flags.width * 10 + digit as usize - '0' as usize).min(1000);
        }
        let modifier = chars.next_if(|(_, c)| matches!(c, 'E' | 'O')).map(|(_, c)| c);
        let Some((at, code)) = chars.next() else {
            out.push('%');
            out.push_str(field);
            return out;
        };
        let end = at + code.len_utf8();
        match value(code, modifier, &flags, moment, end == 1) {
            Some(text) => out.push_str(&text),
            None => {
                out.push('%');
                out.push_str(&field[..end]);
            }
        }
        rest = &field[end..];
    }
    out.push_str(rest);
    out
}

fn value(code: char, modifier: Option<char>, flags: &Flags, moment: &Moment, plain: bool) -> Option<String> {
    let m = moment;
    let allowed = match modifier {
        None => true,
        Some('E') => "cCxXyY".contains(code),
        Some(_) => "deHkIlmMSuUVwWyGg".contains(code),
    };
    if !allowed {
        return None;
    }
    let number = |value, digits| Some(flags.number(value, digits, '0'));
    let spaced = |value| Some(flags.number(value, 2, '_'));
    let inner = |format: &str| {
        let upper = |text: String| if flags.upper { text.to_uppercase() } else { text };
        Some(flags.text(&upper(strftime(format, m))))
    };
    let (weekday, hour12) = (m.weekday(), (m.hour + 11) % 12 + 1);
    let (day_name, month_name) = (DAYS[weekday as usize], MONTHS[((m.month - 1) % 12) as usize]);
    let half = if m.hour < 12 { "AM" } else { "PM" };
    match code {
        'a' => Some(flags.name(&day_name[..3])),
        'A' => Some(flags.name(day_name)),
        'b' | 'h' => Some(flags.name(&month_name[..3])),
        'B' => Some(flags.name(month_name)),
        'c' => inner("%a %b %e %H:%M:%S %Y"),
        'C' => number(m.year.div_euclid(100), 2),
        'd' => number(m.day, 2),
        'D' | 'x' => inner("%m/%d/%y"),
        'e' => spaced(m.day),
        'F' => inner("%Y-%m-%d"),
        'g' => number(m.iso_week().0.rem_euclid(100), 2),
        'G' => number(m.iso_week().0, 1),
        'H' => number(m.hour, 2),
        'I' => number(hour12, 2),
        'j' => number(m.day_of_year() + 1, 3),
        'k' => spaced(m.hour),
        'l' => spaced(hour12),
        'm' => number(m.month, 2),
        'M' => number(m.minute, 2),
        'n' => Some(flags.text("\n")),
        'p' => Some(flags.text(&if flags.swap { half.to_lowercase() } else { half.into() })),
        // Small whatever the flags say.
        'P' => Some(Flags { upper: false, ..*flags }.text(&half.to_lowercase())),
        'r' => inner("%I:%M:%S %p"),
        'R' => inner("%H:%M"),
        's' => number(m.unix, 1),
        'S' => number(m.second, 2),
        't' => Some(flags.text("\t")),
        'T' | 'X' => inner("%H:%M:%S"),
        'u' => number((weekday + 6) % 7 + 1, 1),
        'U' => number((m.day_of_year() - weekday + 7) / 7, 2),
        'V' => number(m.iso_week().1, 2),
        'w' => number(weekday, 1),
        'W' => number((m.day_of_year() - (weekday + 6) % 7 + 7) / 7, 2),
        'y' => number(m.year.rem_euclid(100), 2),
        'Y' => number(m.year, 1),
        // These are Python's own, without flags; a moment here has no zone.
        'f' => plain.then(|| format!("{:06}", m.microsecond)),
        'z' | 'Z' => Some(flags.text("")),
        '%' => Some(flags.text("%")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Python's own (tests/text/jinja.py).
    #[test]
    fn every_code_and_flag() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../../../../tests/text/jinja.json")).unwrap();
        let formats = golden["formats"].as_array().unwrap();
        let mut wrong = Vec::new();
        for date in golden["dates"].as_array().unwrap() {
            let number = |at: usize| date["moment"][at].as_i64().unwrap();
            let moment = Moment {
                year: number(0),
                month: number(1),
                day: number(2),
                hour: number(3),
                minute: number(4),
                second: number(5),
                microsecond: number(6),
                unix: 0,
            };
            for (format, text) in formats.iter().zip(date["texts"].as_array().unwrap()) {
                let found = strftime(format.as_str().unwrap(), &moment);
                if found != text.as_str().unwrap() {
                    wrong.push(format!("{format}: expected {text}, found {found:?}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn the_time_is_that_of_the_place() {
        let time = jiff::Timestamp::from_second(1_795_476_593).unwrap();
        let text = |zone: &str| strftime("%F %T %j", &Moment::at(time, &jiff::tz::TimeZone::posix(zone).unwrap()));
        assert_eq!(text("UTC0"), "2026-11-23 23:29:53 327");
        assert_eq!(text("JST-9"), "2026-11-24 08:29:53 328");
        assert_eq!(text("EST5EDT,M3.2.0,M11.1.0"), "2026-11-23 18:29:53 327");
        assert_eq!(text("IST-5:30"), "2026-11-24 04:59:53 328");
    }
}
