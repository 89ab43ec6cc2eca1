//! Personal data: numbers with checks against lists of valid and invalid ones, forms, and what only looks alike.

use expect_test::{Expect, expect};

use super::{found, kinds};

fn check(text: &str, expected: Expect) {
    expected.assert_eq(&found(text));
}

/// Each of `valid` is found as `kind` and ends where it ends; none of `invalid` is.
fn numbers(kind: &str, before: &str, valid: &[&str], invalid: &[&str]) {
    for number in valid {
        let text = format!("{before} {number}, thanks");
        let report = super::scan(&text);
        let hit = report.findings.iter().find(|finding| finding.kind.name() == kind);
        let hit = hit.unwrap_or_else(|| panic!("{text:?} has no {kind}: {:?}", report.findings));
        assert_eq!(&text[hit.start..hit.end], *number);
    }
    for number in invalid {
        let text = format!("{before} {number}, thanks");
        assert!(!kinds(&text).contains(&kind), "{text:?}");
    }
}

#[test]
fn addresses() {
    check(
        "From: Ann <ann.lee+x@mail.example.org>, cc bob@example.co.uk. not@home, @handle, a@b, x@y..z, v1@2.3",
        expect![[r#"
            email 70 "ann.lee+x@mail.example.org"
            email 70 "bob@example.co.uk"
        "#]],
    );
}

#[test]
fn account_numbers() {
    // the registry's examples of ISO 13616
    let valid = [
        "AD1200012030200359100100",
        "AE070331234567890123456",
        "AT611904300234573201",
        "BE68539007547034",
        "BG80BNBG96611020345678",
        "CH9300762011623852957",
        "CY17002001280000001200527600",
        "CZ6508000000192000145399",
        "DE89370400440532013000",
        "DE89 3704 0044 0532 0130 00",
        "DK5000400440116243",
        "EE382200221020145685",
        "ES9121000418450200051332",
        "FI2112345600000785",
        "FR1420041010050500013M02606",
        "GB29NWBK60161331926819",
        "GB29 NWBK 6016 1331 9268 19",
        "GR1601101250000000012300695",
        "HU42117730161111101800000000",
        "IE29AIBK93115212345678",
        "IT60X0542811101000000123456",
        "LT121000011101001000",
        "LU280019400644750000",
        "MT84MALT011000012345MTLCAST001S",
        "NL91ABNA0417164300",
        "NO9386011117947",
        "PL61109010140000071219812874",
        "PT50000201231234567890154",
        "RO49AAAA1B31007593840000",
        "SE4550000000058398257466",
        "SI56263300012039086",
        "SK3112000000198742637541",
        "TR330006100519786457841326",
    ];
    let invalid = [
        "DE88370400440532013000",
        "DE8937040044053201300",
        "GB29NWBK60161331926818",
        "XX89370400440532013000",
        "FR1420041010050500013M02607",
        "NL91ABNA0417164301",
        "ES9121000418450200051333",
        "PL99205322697140070436605933",
    ];
    numbers("iban", "pay to", &valid, &invalid);
}

#[test]
fn cards() {
    // the test numbers that payment services publish
    let valid = [
        "4111111111111111",
        "4111 1111 1111 1111",
        "4012-8888-8888-1881",
        "4222222222222",
        "5555555555554444",
        "5105 1051 0510 5100",
        "2223003122003222",
        "378282246310005",
        "3714 496353 98431",
        "6011111111111117",
        "3530111333300000",
        "30569309025904",
        "3852 000002 3237",
        "6200000000000005",
        "5019717010103742",
    ];
    let invalid = [
        "4111111111111112",
        "4111 1111 1111 1112",
        "1234567812345670",
        "0000000000000000",
        "411111111111111",
        "5555555555554445",
        "9111111111111111",
        "4111.1111.1111.1111",
    ];
    numbers("card", "card", &valid, &invalid);
}

#[test]
fn ids_of_nations() {
    numbers(
        "us_ssn",
        "SSN",
        &["123-45-6789", "001-01-0001", "123456789"],
        &["000-12-3456", "666-12-3456", "900-12-3456", "123-00-4567", "123-45-0000", "123-45-67890", "12-345-6789"],
    );
    numbers(
        "uk_nino",
        "NI number",
        &["AB123456C", "AB 12 34 56 C", "JG103759A"],
        &["DA123456C", "BG123456A", "AO123456B", "AB123456E", "AB12345C", "QQ123456C"],
    );
    // the Federal Central Tax Office's and published test numbers
    numbers(
        "de_tax_id",
        "Steuer-ID",
        &["86095742719", "47036892816", "65929970489", "57549285017", "25768131411", "86 095 742 719"],
        &["86095742718", "12345678901", "06095742719", "11111111111", "8609574271"],
    );
    numbers(
        "fr_nir",
        "numéro",
        &["255081416802538", "1 85 05 78 006 084 91", "269054958815780", "247112B20075340", "214042A77891323"],
        &["255081416802539", "955081416802538", "255131416802538"],
    );
    numbers(
        "es_dni",
        "DNI",
        &["12345678Z", "00000000T", "12345678-Z", "X1234567L", "Y1234567X"],
        &["12345678A", "X1234567A", "1234567Z"],
    );
    numbers(
        "it_fiscal_code",
        "CF",
        &["RSSMRA85T10A562S", "MRTMTT25D09F205Z", "rssmra85t10a562s"],
        &["RSSMRA85T10A562T", "RSSMRA85X10A562S", "RSSMRA85T10A562"],
    );
}

#[test]
fn a_tax_id_needs_a_word_that_names_it() {
    check("order 86095742719 was sent", expect![""]);
    check(
        r#"{"tax_id": "86095742719"}"#,
        expect![[r#"
        de_tax_id 95 "86095742719"
    "#]],
    );
}

#[test]
fn telephone_numbers() {
    numbers(
        "phone",
        "reach me at",
        &[
            "+44 20 7946 0123",
            "+1 (415) 555-0132",
            "+49-89-123456",
            "+33.1.42.68.53.00",
            "(415) 555-0132",
            "415-555-0132",
            "415.555.0132",
        ],
        &[
            "+44",
            "+12 34",
            "2024-11-05",
            "10.0.0.1",
            "192.168.1.10",
            "1,234,567",
            "12:30-14:00",
            "3.14159",
            "555-0132",
            "115-555-0132",
        ],
    );
    numbers("phone", "Telefon:", &["030 1234 567", "0800 330 1000", "089/123456"], &["12 34", "2024 11 05"]);
}

#[test]
fn what_only_looks_like_it() {
    check(
        "id 550e8400-e29b-41d4-a716-446655440000, sha 3f786850e387550fdaee3b2a4f7d5d0b1f0a6c1e, v1.22.333, 2024-01-31T10:00:00Z, \
         file_4111111111111111.png, 12,345.67 EUR, #1234567890123, 127.0.0.1:8080, ISBN 978-3-16-148410-0, 17:30-18:45, 10-12-2023",
        expect![""],
    );
}
