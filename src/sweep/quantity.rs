//! Quantities as people write them: shares, spans of time, amounts of memory. Knows nothing of what they are for.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, de};

/// A share between 0 and 1, written `0.02` or `2%`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize)]
pub struct Share(pub f64);

/// A span of time, written `25ms`, `3m` or `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// An amount of memory, written `8GiB`, `512MB` or as plain bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (digits, scale) = text.strip_suffix('%').map_or((text, 1.0), |d| (d, 100.0));
        let expected = "expected a share above 0 and below 1, e.g. 0.02 or 2%";
        let value: f64 = digits.trim().parse().map_err(|e| format!("'{text}' is not a share ({e}); {expected}"))?;
        let share = value / scale;
        if share > 0.0 && share < 1.0 { Ok(Self(share)) } else { Err(format!("'{text}' is out of range; {expected}")) }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}%", (self.0 * 1e6).round() / 1e4))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|e| format!("'{text}' is not a span of time ({e}); expected e.g. 25ms, 3m or 1h"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&humantime::format_duration(self.0).to_string())
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<bytesize::ByteSize>()
            .map(|size| Self(size.as_u64()))
            .map_err(|e| format!("'{text}' is not an amount of memory ({e}); expected e.g. 8GiB or 512MB"))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&bytesize::ByteSize(self.0).display().iec().to_string())
    }
}

/// A number or a text, so that a profile may write `0.02` as well as `"2%"`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Whole(u64),
    Number(f64),
    Text(String),
}

impl Written {
    fn text(self) -> String {
        match self {
            Self::Whole(n) => n.to_string(),
            Self::Number(n) => n.to_string(),
            Self::Text(t) => t,
        }
    }
}

macro_rules! from_written {
    ($($name:ident),+) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Written::deserialize(deserializer)?.text().parse().map_err(de::Error::custom)
            }
        }
    )+};
}
from_written!(Share, Span, Bytes);

/// Reads one value that is written as a text, for types that know `FromStr` alone.
pub(super) fn text<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: FromStr<Err = String>,
    D: Deserializer<'de>,
{
    String::deserialize(deserializer)?.parse().map(Some).map_err(de::Error::custom)
}

/// Reads one word, a comma-separated text of words or an array of words.
pub(super) fn words<'de, T, D>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    T: FromStr<Err = String>,
    D: Deserializer<'de>,
{
    struct Words;
    impl<'de> de::Visitor<'de> for Words {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a word or a list of words")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(text.split(',').map(|w| w.trim().to_owned()).collect())
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut out = Vec::new();
            while let Some(word) = items.next_element::<String>()? {
                out.push(word);
            }
            Ok(out)
        }
    }
    let words = deserializer.deserialize_any(Words)?;
    words.iter().map(|w| w.parse().map_err(de::Error::custom)).collect::<Result<Vec<T>, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_written_two_ways() {
        assert_eq!("2%".parse(), Ok(Share(0.02)));
        assert_eq!("0.02".parse(), Ok(Share(0.02)));
        assert_eq!(Share(0.02).to_string(), "2%");
        for bad in ["", "2", "0", "-1%", "100%", "NaN", "inf", "two"] {
            assert!(bad.parse::<Share>().is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn spans_and_bytes() {
        assert_eq!("25ms".parse(), Ok(Span(Duration::from_millis(25))));
        assert_eq!("8GiB".parse(), Ok(Bytes(8 << 30)));
        assert_eq!("1000".parse(), Ok(Bytes(1000)));
        assert!("25".parse::<Span>().is_err());
        assert!("-1GiB".parse::<Bytes>().is_err());
    }
}
