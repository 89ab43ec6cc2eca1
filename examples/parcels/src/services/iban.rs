//! International bank account numbers (ISO 13616): check digits only; no register of banks.

/// Whether the check digits fit: the number, its first four characters moved to the end and letters read as 10 to 35,
/// leaves 1 when divided by 97. No blanks.
pub fn is_valid(iban: &str) -> bool {
    (15..=34).contains(&iban.len())
        && iban.bytes().take(2).all(|b| b.is_ascii_uppercase())
        && iban.bytes().skip(2).take(2).all(|b| b.is_ascii_digit())
        && iban.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        && remainder(iban.bytes().skip(4).chain(iban.bytes().take(4))) == 1
}

/// The number of a country and an account, with check digits put in.
pub fn make(country: &str, account: &str) -> String {
    let digits = 98 - remainder(account.bytes().chain(country.bytes()).chain(*b"00"));
    format!("{country}{digits:02}{account}")
}

fn remainder(characters: impl Iterator<Item = u8>) -> u32 {
    characters.fold(0, |rest, character| match character {
        b'0'..=b'9' => (rest * 10 + u32::from(character - b'0')) % 97,
        _ => (rest * 100 + u32::from(character.wrapping_sub(b'A').min(25)) + 10) % 97,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_examples_hold() {
        // The examples of the IBAN registry.
        for good in
            ["DE89370400440532013000", "GB29NWBK60161331926819", "NL91ABNA0417164300", "FR1420041010050500013M02606"]
        {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["DE89370400440532013001", "GB29 NWBK 6016", "", "de89370400440532013000", "DE8937040044053201300é"]
        {
            assert!(!is_valid(bad), "{bad}");
        }
        assert_eq!(make("DE", "370400440532013000"), "DE89370400440532013000");
    }
}
