//! Schemas made at random, each with documents that validate, made without the grammar.

use serde_json::{Map, Value, json};

use crate::walk::Noise;

/// What a schema says, so that a document can be made of it as well.
pub enum Kind {
    Text {
        least: usize,
        most: usize,
    },
    Pattern(usize),
    Format(usize),
    Whole {
        min: i64,
        max: i64,
    },
    Multiple {
        of: i64,
        times: i64,
    },
    Number {
        min: i64,
        below: i64,
    },
    AnyNumber,
    BooleanOrNull,
    Enumerated,
    Constant,
    List {
        of: Box<Kind>,
        min: usize,
        max: usize,
    },
    Tuple(Vec<Kind>),
    Either(Box<Kind>, Box<Kind>),
    /// By a field that says which.
    Tagged(Box<Kind>, Box<Kind>),
    Object {
        fields: Vec<(String, Kind, bool)>,
        others: bool,
    },
    Map {
        of: Box<Kind>,
        most: usize,
    },
    Prefixed(Box<Kind>),
    Both(Box<Kind>, Box<Kind>),
    /// A list that nests: `#` of its own definition.
    Tree,
}

const PATTERNS: [(&str, [&str; 2]); 8] = [
    ("^[a-f0-9]{2,6}$", ["0f", "abc123"]),
    ("^(yes|no)( sir)?$", ["yes", "no sir"]),
    ("[xyz]$", ["lazy", "x"]),
    ("^\\w+\\.\\d{2}$", ["a_1.07", "Zed.99"]),
    ("^[^aeiou ]*$", ["", "rhythm"]),
    ("^(?:[A-Z][a-z]{1,8} ?){1,3}$", ["Ada Lovelace", "Io"]),
    ("^\\S+$", ["größe", "a\u{2603}b"]),
    ("^-?[1-9][0-9]{0,5}$", ["-12", "999999"]),
];

const FORMATS: [(&str, [&str; 2]); 8] = [
    ("date", ["2026-11-29", "1999-01-31"]),
    ("time", ["10:30:00Z", "23:59:59+01:00"]),
    ("date-time", ["2026-11-29T10:30:00Z", "2000-02-28T00:00:00.25-05:00"]),
    ("duration", ["PT5M", "P1DT12H"]),
    ("email", ["ada@example.com", "a.b+c@sub.example.org"]),
    ("ipv4", ["10.0.0.1", "255.255.255.0"]),
    ("uuid", ["123e4567-e89b-12d3-a456-426614174000", "00000000-0000-0000-0000-000000000000"]),
    ("uri", ["https://example.com/a?b=c", "urn:isbn:0451450523"]),
];

const TEXTS: [&str; 10] =
    ["a", "yes sir", "größe", "x y z", "q\"uo\\te", "line\nend", "مرحبا", "日本語", "tab\t.", "ABCDEFGHIJ"];

fn pick<'a, T>(from: &'a [T], noise: &mut Noise) -> &'a T {
    &from[noise.below(from.len())]
}

impl Kind {
    /// At most so many levels.
    pub fn random(noise: &mut Noise, depth: usize) -> Self {
        let inner = |noise: &mut Noise| Box::new(Self::random(noise, depth - 1));
        match noise.below(if depth == 0 { 10 } else { 19 }) {
            0 => {
                let least = noise.below(3);
                Self::Text { least, most: least + noise.below(20) }
            }
            1 => Self::Pattern(noise.below(PATTERNS.len())),
            2 => Self::Format(noise.below(FORMATS.len())),
            3 => Self::Whole { min: -(noise.below(1000) as i64), max: noise.below(100_000) as i64 },
            4 => Self::Multiple { of: 2 + noise.below(9) as i64, times: 1 + noise.below(30) as i64 },
            5 => Self::Number { min: -(noise.below(3) as i64), below: 1 + noise.below(50) as i64 },
            6 => Self::AnyNumber,
            7 => Self::BooleanOrNull,
            8 => Self::Enumerated,
            9 => Self::Constant,
            10 | 11 => {
                let min = noise.below(3);
                Self::List { of: inner(noise), min, max: min + noise.below(3) }
            }
            12 => Self::Tuple((0..1 + noise.below(3)).map(|_| Self::random(noise, depth - 1)).collect()),
            13 => Self::Either(inner(noise), inner(noise)),
            14 => Self::Tagged(inner(noise), inner(noise)),
            15 => Self::Map { of: inner(noise), most: 1 + noise.below(3) },
            16 => Self::Prefixed(inner(noise)),
            17 => match noise.below(2) {
                0 => Self::Tree,
                _ => Self::Both(inner(noise), inner(noise)),
            },
            _ => {
                let name = |i: usize, noise: &mut Noise| {
                    format!("{}_{i}", pick(&["id", "name", "größe", "a b", "q\"t"], noise))
                };
                let fields = (0..1 + noise.below(4))
                    .map(|i| (name(i, noise), Self::random(noise, depth - 1), noise.below(2) == 0))
                    .collect();
                Self::Object { fields, others: noise.below(4) == 0 }
            }
        }
    }

    pub fn schema(&self) -> Value {
        let closed = |fields: Value| {
            let required: Vec<&String> = fields.as_object().unwrap().keys().collect();
            json!({"type": "object", "properties": fields, "required": required, "additionalProperties": false})
        };
        match self {
            Self::Text { least, most } => json!({"type": "string", "minLength": least, "maxLength": most}),
            Self::Pattern(i) => json!({"type": "string", "pattern": PATTERNS[*i].0}),
            Self::Format(i) => json!({"type": "string", "format": FORMATS[*i].0}),
            Self::Whole { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
            Self::Multiple { of, times } => {
                json!({"type": "integer", "multipleOf": of, "minimum": 0, "maximum": of * times})
            }
            Self::Number { min, below } => json!({"type": "number", "minimum": min, "exclusiveMaximum": below}),
            Self::AnyNumber => json!({"type": "number"}),
            Self::BooleanOrNull => json!({"type": ["boolean", "null"]}),
            Self::Enumerated => json!({"enum": ["a", "bc", 3, null, {"d": [true]}]}),
            Self::Constant => json!({"const": {"kind": "k", "n": [1, 2.5]}}),
            Self::List { of, min, max } => {
                json!({"type": "array", "items": of.schema(), "minItems": min, "maxItems": max})
            }
            Self::Tuple(items) => {
                json!({"type": "array", "prefixItems": items.iter().map(Self::schema).collect::<Vec<_>>(),
                "items": false, "minItems": items.len()})
            }
            Self::Either(a, b) => json!({"anyOf": [a.schema(), b.schema()]}),
            Self::Tagged(a, b) => json!({"oneOf": [closed(json!({"is": {"const": "a"}, "of": a.schema()})),
                closed(json!({"is": {"const": "b"}, "of": b.schema()}))]}),
            Self::Object { fields, others } => {
                let properties: Map<String, Value> =
                    fields.iter().map(|(name, kind, _)| (name.clone(), kind.schema())).collect();
                let required: Vec<&String> = fields.iter().filter(|field| field.2).map(|field| &field.0).collect();
                json!({"type": "object", "properties": properties, "required": required, "additionalProperties": others})
            }
            Self::Map { of, most } => {
                json!({"type": "object", "additionalProperties": of.schema(), "maxProperties": most})
            }
            Self::Prefixed(of) => json!({"type": "object", "properties": {"v": {"type": "integer"}},
                "patternProperties": {"^x-": of.schema()}, "required": ["v"], "additionalProperties": false}),
            Self::Both(a, b) => json!({"allOf": [
                {"type": "object", "properties": {"left": a.schema()}, "required": ["left"]},
                {"type": "object", "properties": {"right": b.schema()}, "required": ["right"]}]}),
            // Of its own resource, so that it can stand anywhere.
            Self::Tree => json!({"type": "array", "maxItems": 3, "items": {"anyOf": [{"type": "integer"},
                {"type": "array", "items": {"type": "string", "maxLength": 4}, "maxItems": 2}]}}),
        }
    }

    /// A document that validates.
    pub fn document(&self, noise: &mut Noise) -> Value {
        match self {
            Self::Text { least, most } => {
                let fits = |text: &&&str| (*least..=*most).contains(&text.chars().count());
                let fitting: Vec<&&str> = TEXTS.iter().filter(fits).collect();
                if fitting.is_empty() || noise.below(3) == 0 {
                    let length = least + noise.below(most - least + 1);
                    return Value::from("ß".repeat(length));
                }
                Value::from(**pick(&fitting, noise))
            }
            Self::Pattern(i) => Value::from(*pick(&PATTERNS[*i].1, noise)),
            Self::Format(i) => Value::from(*pick(&FORMATS[*i].1, noise)),
            Self::Whole { min, max } => Value::from(min + noise.below((max - min + 1) as usize) as i64),
            Self::Multiple { of, times } => Value::from(of * noise.below(*times as usize + 1) as i64),
            Self::Number { min, below } => {
                let eighths = (below - min) * 8;
                Value::from(*min as f64 + noise.below(eighths as usize) as f64 / 8.0)
            }
            Self::AnyNumber => {
                pick(&[json!(0), json!(-17), json!(2.5), json!(1e-7), json!(3e30), json!(-0.125)], noise).clone()
            }
            Self::BooleanOrNull => pick(&[json!(true), json!(false), Value::Null], noise).clone(),
            Self::Enumerated => self.schema()["enum"][noise.below(5)].clone(),
            Self::Constant => self.schema()["const"].clone(),
            Self::List { of, min, max } => (0..min + noise.below(max - min + 1)).map(|_| of.document(noise)).collect(),
            Self::Tuple(items) => items.iter().map(|item| item.document(noise)).collect(),
            Self::Either(a, b) => if noise.below(2) == 0 { a } else { b }.document(noise),
            Self::Tagged(a, b) => match noise.below(2) {
                0 => json!({"is": "a", "of": a.document(noise)}),
                _ => json!({"is": "b", "of": b.document(noise)}),
            },
            Self::Object { fields, others } => {
                let mut object = Map::new();
                for (name, kind, required) in fields {
                    if *required || noise.below(2) == 0 {
                        object.insert(name.clone(), kind.document(noise));
                    }
                }
                if *others && noise.below(2) == 0 {
                    object.insert("more".into(), json!([{"x": null}, "y"]));
                }
                object.into()
            }
            Self::Map { of, most } => {
                let names = (0..noise.below(most + 1)).map(|i| format!("{}{i}", pick(&["k", "k k", "ä"], noise)));
                let names: Vec<String> = names.collect();
                names.into_iter().map(|name| (name, of.document(noise))).collect::<Map<_, _>>().into()
            }
            Self::Prefixed(of) => {
                let mut object = Map::new();
                object.insert("v".into(), json!(noise.below(100)));
                (0..noise.below(3)).for_each(|i| _ = object.insert(format!("x-{i}"), of.document(noise)));
                object.into()
            }
            Self::Both(a, b) => json!({"left": a.document(noise), "right": b.document(noise)}),
            Self::Tree => json!([noise.below(50), ["ab", "c"]]),
        }
    }
}
