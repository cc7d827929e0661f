//! An allocator that counts, and the bound that reading a file must keep.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator, keeping count of what is live and of the most that
/// ever was. A block that grows is counted as old and new at once, which is
/// the worst that the system does.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed to the system's allocator unchanged; only
// counters are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: the caller's contract is System's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most memory that reading may take at a time.
#[derive(Clone, Copy)]
pub struct Bound {
    /// Bytes for each byte of the files.
    pub per_byte: usize,
    /// Bytes whatever their size.
    pub constant: usize,
}

impl Bound {
    /// Runs `read` on files of `size` bytes and panics if it took more.
    pub fn check(self, size: usize, read: impl FnOnce()) {
        let before = LIVE.load(Relaxed);
        PEAK.store(before, Relaxed);
        read();
        let taken = PEAK.load(Relaxed).saturating_sub(before);
        let most = self.per_byte * size + self.constant;
        assert!(
            taken <= most,
            "{taken} bytes taken for files of {size}, which may take {most}"
        );
    }
}
