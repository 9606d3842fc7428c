//! Any bytes are a statement in its one form, or refused; verifying is total.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meshd_core::statement::{
    Act, Delegation, Departure, Enrolment, MapHeader, Params, Record, Signed, Statement,
};

fn take<T: Statement>(bytes: &[u8], key: &T::Public) {
    if let Ok(signed) = Signed::<T>::decode(bytes) {
        assert_eq!(signed.bytes(), bytes);
        let _ = signed.verify(key);
    }
}

fuzz_target!(|data: &[u8]| {
    use meshd_core::keys::{CoordinatorPublic, IdentityPublic, JoinPublic, RootPublic};
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    let key = [kind.wrapping_mul(7); 32];
    match kind % 7 {
        0 => take::<Params>(bytes, &RootPublic::from_bytes(key)),
        1 => take::<Delegation>(bytes, &RootPublic::from_bytes(key)),
        2 => take::<Enrolment>(bytes, &JoinPublic::from_bytes(key)),
        3 => take::<Record>(bytes, &IdentityPublic::from_bytes(key)),
        4 => take::<Act>(bytes, &RootPublic::from_bytes(key)),
        5 => take::<Departure>(bytes, &IdentityPublic::from_bytes(key)),
        _ => take::<MapHeader>(bytes, &CoordinatorPublic::from_bytes(key)),
    }
});
