//! What the surface answers, field by field: the description is made of these, so that clients can be generated from it.
//!
//! Each is made from a view of a frontier by naming all of its fields: one that is added there does not build here until
//! it has its place in the description.

pub(crate) mod approvals;
pub(crate) mod forms;
pub(crate) mod guard;
pub(crate) mod models;
pub(crate) mod resources;
pub(crate) mod runs;
pub(crate) mod text;
pub(crate) mod why;
pub(crate) mod workers;

/// An enum for the description and the wire, from one of a frontier.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident from $of:path { $($word:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, serde::Serialize, utoipa::ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub(crate) enum $name {
            $($word,)+
        }

        impl From<$of> for $name {
            fn from(word: $of) -> Self {
                use $of as Of;
                match word {
                    $(Of::$word => Self::$word,)+
                }
            }
        }
    };
}
pub(crate) use words;
