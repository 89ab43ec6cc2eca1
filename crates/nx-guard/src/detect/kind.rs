//! What a finding can be.

use serde::{Serialize, Serializer};

/// Who finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    /// Text that tells the model what to do.
    Injection,
    /// Personal data.
    Pii,
    /// Keys and passwords.
    Secrets,
    /// Characters that hide something or pass for others.
    Unicode,
    /// Values that are larger or otherwise shaped than declared.
    Anomaly,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $detector:ident $kind:ident $name:literal,)*) => {
        /// What was found. Its name in JSON is stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// Who finds it.
            pub const fn detector(self) -> Detector {
                match self {
                    $(Self::$kind => Detector::$detector,)*
                }
            }
        }
    };
}

kinds! {
    /// A passage that turns on the model: ignore what you were told, hand over the key, do not tell the user.
    Injection Override "override",
    /// A passage that asks for something a model would do, in the midst of other text.
    Injection Instruction "instruction",
    /// Such a passage, written in characters that nobody sees.
    Injection Hidden "hidden",
    /// Such a passage in base64, hexadecimal, percent or backslash escapes.
    Injection Encoded "encoded",
    /// An e-mail address.
    Pii Email "email",
    /// A telephone number.
    Pii Phone "phone",
    /// An international bank account number (ISO 13616).
    Pii Iban "iban",
    /// The number of a payment card (ISO/IEC 7812).
    Pii Card "card",
    /// A social security number of the United States.
    Pii UsSsn "us_ssn",
    /// A national insurance number of the United Kingdom.
    Pii UkNino "uk_nino",
    /// A tax identification number of Germany.
    Pii DeTaxId "de_tax_id",
    /// A social security number of France.
    Pii FrNir "fr_nir",
    /// An identity number of Spain, of citizens or of foreigners.
    Pii EsDni "es_dni",
    /// A tax code of Italy.
    Pii ItFiscalCode "it_fiscal_code",
    /// An access key of Amazon Web Services.
    Secrets AwsKey "aws_key",
    /// A key or token of Google.
    Secrets GoogleKey "google_key",
    /// A key of Microsoft Azure.
    Secrets AzureKey "azure_key",
    /// A token of GitHub.
    Secrets GithubToken "github_token",
    /// A token of GitLab.
    Secrets GitlabToken "gitlab_token",
    /// A token or a hook of Slack.
    Secrets SlackToken "slack_token",
    /// A key of Stripe.
    Secrets StripeKey "stripe_key",
    /// A key of `OpenAI`.
    Secrets OpenaiKey "openai_key",
    /// A key of Anthropic.
    Secrets AnthropicKey "anthropic_key",
    /// A token of another service whose format is known.
    Secrets ServiceToken "service_token",
    /// A private key in PEM.
    Secrets PrivateKey "private_key",
    /// A JSON Web Token (RFC 7519).
    Secrets Jwt "jwt",
    /// A password within a URL.
    Secrets UrlPassword "url_password",
    /// A value that is called a password, token or key.
    Secrets Assigned "assigned",
    /// A token of random characters.
    Secrets Random "random",
    /// Characters that nobody sees.
    Unicode Invisible "invisible",
    /// Tag characters or variation selectors that carry text.
    Unicode Smuggled "smuggled",
    /// Controls that change the direction of text.
    Unicode Bidi "bidi",
    /// Letters of two scripts in one word, where they look alike.
    Unicode Homoglyph "homoglyph",
    /// More combining marks than a letter carries.
    Unicode Marks "marks",
    /// More bytes than declared or usual.
    Anomaly Size "size",
    /// More levels than declared or usual.
    Anomaly Depth "depth",
    /// More values than declared or usual.
    Anomaly Count "count",
    /// A value of another type than declared.
    Anomaly Type "type",
    /// A value out of the range or choice that is declared.
    Anomaly Range "range",
    /// A member that is declared and is not there.
    Anomaly Missing "missing",
    /// A member that is there and is not declared.
    Anomaly Unexpected "unexpected",
}

impl Kind {
    /// Whether it is more than a request that somebody may well make of somebody: text that turns on the model, or that hides.
    pub const fn takes_over(self) -> bool {
        matches!(self, Self::Override | Self::Hidden | Self::Encoded | Self::Smuggled)
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
