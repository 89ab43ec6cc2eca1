//! Schemas of this crate's text types, and the check of texts by the schema's `format`.

use std::{borrow::Cow, str::FromStr as _};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{
    id::{EventType, Namespace, Subject},
    time::{Duration, Timestamp},
};

macro_rules! text_schema {
    ($($name:ident, $format:literal;)*) => {
        $(impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format })
            }
        })*

        /// Checks a text against a `format`; formats that are not ours pass.
        pub(super) fn check(format: &str, text: &str) -> Result<(), String> {
            match format {
                $($format => $name::from_str(text).map(|_value| ()).map_err(|err| err.to_string()),)*
                _ => Ok(()),
            }
        }
    };
}

text_schema! {
    Duration, "neuraxis-duration";
    Timestamp, "date-time";
    EventType, "neuraxis-event-type";
    Namespace, "neuraxis-namespace";
    Subject, "neuraxis-subject";
}
