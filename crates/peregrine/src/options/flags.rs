//! Values of flags.

/// `4GB`, `1.5GiB`, `900M`, `123456789`.
///
/// # Errors
/// What is needed, in words.
pub fn bytes(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let (short, long) = (unit.trim().to_ascii_lowercase(), [1e0, 1e3, 1e6, 1e9, 1e12]);
    let power = |unit: &str| ["", "k", "m", "g", "t"].iter().position(|u| *u == unit);
    let factor = match short.strip_suffix("ib") {
        Some(unit) => power(unit).filter(|p| *p > 0).map(|p| 1024f64.powi(p as i32)),
        None => power(short.strip_suffix('b').unwrap_or(&short)).map(|p| long[p]),
    };
    match (number.parse::<f64>(), factor) {
        (Ok(number), Some(factor)) if number * factor >= 1.0 => Ok((number * factor) as u64),
        _ => Err("bytes are needed, as in 4GB, 1.5GiB, 900M".into()),
    }
}
