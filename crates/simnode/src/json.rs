//! JSON text with its keys in the order they were written, as the engines send them.

use std::fmt::Write as _;

/// A value that can write itself as JSON text.
pub(crate) trait Put {
    /// Appends the JSON text of `self` to `out`.
    fn put(&self, out: &mut String);
}

/// JSON text that is already complete.
#[derive(Clone, Debug)]
pub(crate) struct Raw(pub(crate) String);

/// The JSON `null`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Null;

/// An ordered object: `obj! { "a": 1, "b": "text" }`.
macro_rules! obj {
    ($($key:literal : $value:expr),* $(,)?) => {
        $crate::json::Object::new()$(.with($key, &$value))*.end()
    };
}

/// A list of values that may differ in type: `arr![1, "a"]`.
macro_rules! arr {
    () => { Vec::<$crate::json::Raw>::new() };
    ($($value:expr),+ $(,)?) => { vec![$($crate::json::text(&$value)),+] };
}

pub(crate) use {arr, obj};

/// An object under construction.
#[derive(Debug)]
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn new() -> Self {
        Self(String::from("{"))
    }

    pub(crate) fn with(mut self, key: &str, value: &dyn Put) -> Self {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        key.put(&mut self.0);
        self.0.push(':');
        value.put(&mut self.0);
        self
    }

    /// Adds the field only when there is a value, like Go's `omitempty`.
    pub(crate) fn with_some<T: Put>(self, key: &str, value: Option<T>) -> Self {
        match value {
            Some(value) => self.with(key, &value),
            None => self,
        }
    }

    pub(crate) fn end(mut self) -> Raw {
        self.0.push('}');
        Raw(self.0)
    }
}

/// The JSON text of one value.
pub(crate) fn text(value: &dyn Put) -> Raw {
    let mut out = String::new();
    value.put(&mut out);
    Raw(out)
}

impl Put for Raw {
    fn put(&self, out: &mut String) {
        out.push_str(&self.0);
    }
}

impl Put for Null {
    fn put(&self, out: &mut String) {
        out.push_str("null");
    }
}

impl Put for str {
    fn put(&self, out: &mut String) {
        // A string always serialises; the fallback only spares an unwrap.
        out.push_str(&serde_json::to_string(self).unwrap_or_else(|_| "\"\"".into()));
    }
}

impl Put for String {
    fn put(&self, out: &mut String) {
        self.as_str().put(out);
    }
}

impl Put for bool {
    fn put(&self, out: &mut String) {
        out.push_str(if *self { "true" } else { "false" });
    }
}

macro_rules! put_number {
    ($($number:ty),*) => {$(
        impl Put for $number {
            fn put(&self, out: &mut String) {
                // Writing to a String cannot fail.
                let _ = write!(out, "{self}");
            }
        }
    )*};
}
put_number!(i32, i64, u16, u32, u64, usize);

impl Put for f64 {
    fn put(&self, out: &mut String) {
        if self.is_finite() {
            let _ = write!(out, "{self}");
        } else {
            out.push('0');
        }
    }
}

impl<T: Put> Put for Option<T> {
    fn put(&self, out: &mut String) {
        match self {
            Some(value) => value.put(out),
            None => out.push_str("null"),
        }
    }
}

impl<T: Put> Put for [T] {
    fn put(&self, out: &mut String) {
        out.push('[');
        for (index, item) in self.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            item.put(out);
        }
        out.push(']');
    }
}

impl<T: Put> Put for Vec<T> {
    fn put(&self, out: &mut String) {
        self.as_slice().put(out);
    }
}

impl<T: Put + ?Sized> Put for &T {
    fn put(&self, out: &mut String) {
        (**self).put(out);
    }
}
