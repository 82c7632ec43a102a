//! The C library's allocator, told that few threads allocate here.
//! It never changes what an allocation returns.

/// Keeps one heap for all threads of the process. The library would make one more for each thread, with 128 MiB of
/// addresses and pages of its own that are never given back; our threads write small records and mostly wait. To be called
/// before any thread is started.
pub fn keep_one_heap() {
    // SAFETY: mallopt(3) takes two numbers; it races only with allocations of other threads, and there are none yet.
    // Refused (it returns 0), the library goes on with several heaps, which costs memory and nothing else.
    let _several_will_do = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}
