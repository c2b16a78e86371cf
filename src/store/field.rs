//! A field of a row, whatever its type: as a number, and as the text that a file holds.

/// What every type of a column can say of itself.
pub(super) trait Field {
    /// Whether values of the type are numbers.
    const IS_NUMBER: bool;
    /// The value as a number, where it is one and is there.
    fn number(&self) -> Option<f64>;
    /// The value as a file writes it; empty where it is missing.
    fn text(&self) -> String;
}

macro_rules! numbers {
    ($($type:ty),+) => {
        $(impl Field for $type {
            const IS_NUMBER: bool = true;
            fn number(&self) -> Option<f64> {
                Some(*self as f64)
            }
            fn text(&self) -> String {
                self.to_string()
            }
        })+
    };
}
numbers!(u32, u64, f64);

impl Field for bool {
    const IS_NUMBER: bool = false;
    fn number(&self) -> Option<f64> {
        None
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Field for String {
    const IS_NUMBER: bool = false;
    fn number(&self) -> Option<f64> {
        None
    }
    fn text(&self) -> String {
        self.clone()
    }
}

impl<T: Field> Field for Option<T> {
    const IS_NUMBER: bool = T::IS_NUMBER;
    fn number(&self) -> Option<f64> {
        self.as_ref().and_then(T::number)
    }
    fn text(&self) -> String {
        self.as_ref().map_or_else(String::new, T::text)
    }
}
