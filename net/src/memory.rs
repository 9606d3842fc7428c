//! Memory that the process holds and does not need.

use std::ffi::{c_int, c_void};

/// From this size on (bytes) memory is mapped by itself, and goes back to the kernel when it is freed. It is glibc's own first value:
/// by itself glibc raises it to the largest block that was ever freed (up to 32 MiB), and keeps twice as much free memory.
#[cfg(target_env = "gnu")]
const MAPPED: c_int = 128 << 10;

/// What is freed in large pieces goes back to the kernel at once, for the life of the process. To be called before there are threads.
pub fn return_large_blocks() {
    // SAFETY: `mallopt` sets a number of the C library's allocator; it is called before other threads allocate.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
    }
}

/// Gives the pages of the program's code and constants back to the page cache: those of start-up and of rare work are never needed
/// again, the others are mapped again when they are next used (a minor fault each, or a read where memory had been short). The
/// kernel maps a file's pages by 64 KiB around the one that is touched, so that otherwise all of a program stays resident.
///
/// Gives the bytes that this was said of, resident or not.
pub fn release_code() -> usize {
    let mut bytes = 0usize;
    // SAFETY: `release_segments` matches the callback's type and gets a pointer to `bytes`, which outlives the call.
    unsafe {
        libc::dl_iterate_phdr(Some(release_segments), (&raw mut bytes).cast());
    }
    bytes
}

/// Gives heap pages that nothing is in back to the system. What is short-lived and large, a map's text on its way or a cluster's
/// objects as they are first read, leaves holes between what lives long, which the C library keeps otherwise. Other C libraries than
/// glibc do so by themselves, or not at all.
pub fn release_heap() {
    // SAFETY: it has no preconditions; it takes the allocator's own locks.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Releases what one object (the program or a library) has mapped and never writes.
unsafe extern "C" fn release_segments(info: *mut libc::dl_phdr_info, _: usize, bytes: *mut c_void) -> c_int {
    // SAFETY: the C library gives a valid `info` for the time of the call, with `dlpi_phnum` headers at `dlpi_phdr`; `bytes` is
    // what `release_code` handed over.
    let (base, headers, bytes) = unsafe {
        let info = &*info;
        let headers = std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum));
        (info.dlpi_addr as usize, headers, &mut *bytes.cast::<usize>())
    };
    let page = rustix::param::page_size();
    for header in headers {
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let from = (base + header.p_vaddr as usize).next_multiple_of(page);
        let to = (base + header.p_vaddr as usize + header.p_memsz as usize) / page * page;
        if from >= to {
            continue;
        }
        // SAFETY: these pages are a private mapping of a file that was loaded without leave to write (no PF_W, so the loader relocates
        // nothing there): their content is the file's, before and after. A refusal (the vdso) changes nothing.
        if unsafe { libc::madvise(from as *mut c_void, to - from, libc::MADV_DONTNEED) } == 0 {
            *bytes += to - from;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resident pages of files, in KiB (proc(5)).
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssFile:"));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
            .unwrap()
    }

    /// Resident memory of the process's own, in KiB (proc(5)).
    #[cfg(target_env = "gnu")]
    fn own() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
            .unwrap()
    }

    #[cfg(target_env = "gnu")]
    #[test]
    fn what_was_freed_between_what_is_used_is_resident_no_more() {
        return_large_blocks();
        let mut blocks: Vec<Vec<u8>> = (0..4000).map(|number| vec![number as u8; 8 << 10]).collect();
        // every page of what remains keeps the heap from shrinking by itself
        for (number, block) in blocks.iter_mut().enumerate() {
            if number % 64 != 0 {
                *block = Vec::new();
            }
        }
        let before = own();
        release_heap();
        let after = own();
        assert!(after + 16 * 1024 < before, "{before} KiB, then {after}");
        assert!(blocks[64].iter().all(|byte| *byte == 64));
    }

    #[test]
    fn what_is_not_used_is_resident_no_more_and_the_program_goes_on() {
        let before = resident();
        assert!(release_code() > 100 * 1024);
        let after = resident();
        assert!(after < before, "{before} KiB, then {after}");
        assert!(release_code() > 100 * 1024);
    }
}
