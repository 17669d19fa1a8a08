//! A comparison of what the device computes with what the CPU has.

/// One comparison.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Which dispatch, or which state after it.
    pub stage: String,
    /// Tokens in the step.
    pub tokens: u32,
    /// Largest |GPU - CPU|, or infinity when one of them is not a number.
    pub difference: f32,
    /// Largest |CPU|: what the difference is measured against.
    pub magnitude: f32,
    /// Where the largest difference is: an index into the stage's output, token by token.
    pub index: usize,
    /// The GPU's value there.
    pub found: f32,
    /// The CPU's value there.
    pub expected: f32,
    /// The share of the largest value up to which a difference is rounding.
    pub tolerance: f32,
}

/// A difference up to this share of the largest value is rounding: sums of f32 in another order.
pub const TOLERANCE: f32 = 5e-5;
/// The same where both factors of a product were rounded to f16, by half a step of 2^-11 each:
/// cooperative matrices, and all that follows from them in a layer.
pub const TOLERANCE_F16: f32 = 4e-3;

impl Comparison {
    /// Compares two slices of the same meaning. A length that differs is a difference.
    pub fn of(stage: impl Into<String>, tokens: u32, found: &[f32], expected: &[f32]) -> Self {
        let magnitude = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let mut worst = Self {
            stage: stage.into(),
            tokens,
            difference: 0.0,
            magnitude,
            index: 0,
            found: 0.0,
            expected: 0.0,
            tolerance: TOLERANCE,
        };
        if found.len() != expected.len() {
            return Self { difference: f32::INFINITY, index: found.len().min(expected.len()), ..worst };
        }
        for (index, (f, e)) in found.iter().zip(expected).enumerate() {
            let difference = if f.is_finite() && e.is_finite() { (f - e).abs() } else { f32::INFINITY };
            if difference > worst.difference {
                worst = Self { difference, index, found: *f, expected: *e, ..worst };
            }
        }
        worst
    }

    /// The difference as a share of the largest value.
    pub fn relative(&self) -> f32 {
        self.difference / self.magnitude.max(1e-3)
    }

    /// The name of the stage without its layer.
    pub fn kind(&self) -> &str {
        self.stage.split_once(", ").map_or(self.stage.as_str(), |(_, kind)| kind)
    }

    /// In words: where, and what was found instead of what.
    pub fn describe(&self) -> String {
        format!("{}: the device computes {:e} where the CPU has {:e}", self.stage, self.found, self.expected)
    }

    /// Whether the difference is rounding.
    pub fn is_close(&self) -> bool {
        // An infinite magnitude would excuse anything.
        self.difference.is_finite() && self.difference <= self.tolerance * self.magnitude.max(1e-3)
    }
}
