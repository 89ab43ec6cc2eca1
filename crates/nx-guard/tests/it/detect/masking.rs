//! Masking: what is replaced comes back, whatever the text was.

use expect_test::expect;
use nx_guard::detect::{Budget, Detectors, Mask};
use proptest::prelude::*;

fn mask(text: &str, mask: &mut Mask) -> String {
    Detectors::embedded().mask(text, mask, Budget::default()).unwrap()
}

#[test]
fn the_same_value_has_the_same_name() {
    let mut table = Mask::default();
    let text = "ann@example.org wrote to bob@example.org from DE89 3704 0044 0532 0130 00; ann@example.org is away";
    let masked = mask(text, &mut table);
    expect!["[EMAIL_1] wrote to [EMAIL_2] from [IBAN_1]; [EMAIL_1] is away"].assert_eq(&masked);
    assert_eq!(table.unmask(&masked), text);
    // the next text of the same run goes on with the same names
    expect!["tell [EMAIL_2] and [EMAIL_3]"].assert_eq(&mask("tell bob@example.org and eve@example.org", &mut table));
    // what a model makes of it, in another order, with a name that is none
    assert_eq!(table.unmask("[EMAIL_3] [EMAIL_9] [EMAIL_1]"), "eve@example.org [EMAIL_9] ann@example.org");
    assert_eq!((table.len(), table.get("[IBAN_1]")), (4, Some("DE89 3704 0044 0532 0130 00")));
}

#[test]
fn text_that_looks_like_a_placeholder_comes_back() {
    let mut table = Mask::default();
    let text = "[EMAIL_1] is ann@example.org, [[LITERAL_1]] and [X_] stay";
    let masked = mask(text, &mut table);
    expect!["[LITERAL_1] is [EMAIL_1], [[LITERAL_2]] and [X_] stay"].assert_eq(&masked);
    assert_eq!(table.unmask(&masked), text);
}

#[test]
fn the_table_is_kept_as_json_and_prints_no_values() {
    let mut table = Mask::default();
    mask("card 4111 1111 1111 1111", &mut table);
    assert_eq!(format!("{table:?}"), r#"{"[CARD_1]"}"#);
    let again: Mask = serde_json::from_str(&serde_json::to_string(&table).unwrap()).unwrap();
    assert_eq!(again, table);
    assert_eq!(mask("4111 1111 1111 1111", &mut table), "[CARD_1]");
}

#[test]
fn a_text_that_cannot_be_looked_at_is_not_masked() {
    let budget = Budget { bytes: 10, ..Budget::default() };
    let refused = Detectors::embedded().mask("write to ann@example.org", &mut Mask::default(), budget);
    assert!(matches!(refused, Err(nx_guard::Error::TooLarge { .. })), "{refused:?}");
}

fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("ann@example.org".to_owned()),
        Just("DE89370400440532013000".to_owned()),
        Just("[EMAIL_1]".to_owned()),
        Just("[LITERAL_2]".to_owned()),
        Just("[".to_owned()),
        Just("EMAIL_1]".to_owned()),
        Just("password: s3cr3t!! ".to_owned()),
        "[A-Z_0-9\\[\\]]{0,12}",
        "[a-z0-9@. -]{0,20}",
        "\\PC{0,12}",
    ]
}

proptest! {
    #[test]
    fn unmasking_is_the_inverse(texts in prop::collection::vec(prop::collection::vec(part(), 0..8), 1..4)) {
        let mut table = Mask::default();
        let masked: Vec<(String, String)> = texts.iter().map(|parts| {
            let text = parts.concat();
            (mask(&text, &mut table), text)
        }).collect();
        for (masked, text) in masked {
            prop_assert_eq!(table.unmask(&masked), text);
        }
    }
}
