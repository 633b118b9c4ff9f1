//! Closed sets of values that a user names on the command line.

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

/// Declares an enum with its [`Choice`] table: a variant without a spelling and a line of help does not compile.
macro_rules! choices {
    ($(#[$meta:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $spelling:literal, $help:literal;)* }) => {
        $(#[$meta])*
        pub enum $name {
            $($(#[$about])* $variant,)*
        }

        impl $name {
            /// The spelling on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $spelling,)* }
            }
        }

        impl $crate::choice::Choice for $name {
            fn table() -> Vec<(Self, &'static str, &'static str)> {
                vec![$((Self::$variant, $spelling, $help)),*]
            }
        }
    };
}
pub(crate) use choices;
