//! Any bytes are what nft printed, or refused; and whatever it was, the lines made of it name our interfaces only.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meshd_core::firewall::{Hook, Ruleset};

fuzz_target!(|data: &[u8]| {
    let Ok(mut ruleset) = Ruleset::parse(data) else { return };
    if ruleset.read(data).is_err() {
        return;
    }
    for chain in ruleset.unread("meshd-0") {
        let words = chain.to_string();
        assert!(words.split(' ').count() == 3 && !words.contains([';', '\n', '"']), "three plain words: {words:?}");
    }
    let wanted = [Hook::Input, Hook::Forward].map(|hook| (hook, vec!["meshd0".to_owned()]));
    let lines = ruleset.repair(&wanted, "meshd-0", "meshd-0");
    for line in lines {
        assert!(!line.contains('\n'), "one line each: {line:?}");
    }
});
