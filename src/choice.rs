//! A closed set of values that a user names on the command line.

/// A value that is chosen by its name.
pub trait Choice: Sized {
    /// Returns every value with its spelling and one line of help, in the order of the help.
    fn table() -> Vec<(Self, &'static str, &'static str)>;

    /// Returns the value of that name.
    #[must_use]
    fn by_name(name: &str) -> Option<Self> {
        Self::table()
            .into_iter()
            .find_map(|(value, spelling, _)| (spelling == name).then_some(value))
    }
}
