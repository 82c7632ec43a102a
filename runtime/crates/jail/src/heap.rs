//! The C library's allocator, told that few threads allocate here, and when to give back.
//! It never changes what an allocation returns.

/// Keeps one heap for all threads of the process. The library would make one more for each thread, with 128 MiB of
/// addresses and pages of its own that are never given back; our threads write small records and mostly wait. To be called
/// before any thread is started.
pub fn keep_one_heap() {
    // SAFETY: mallopt(3) takes two numbers; it races only with allocations of other threads, and there are none yet.
    // Refused (it returns 0), the library goes on with several heaps, which costs memory and nothing else.
    let _several_will_do = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Gives the pages that are free back to the kernel; the library by itself gives back only those at the heap's end, and one
/// small thing there keeps all below it. It takes the time of a look at all that is free: milliseconds for tens of MiB.
pub fn give_back_what_is_free() {
    // SAFETY: malloc_trim(3) may be called by any thread at any time, takes no pointer and moves nothing that is in use.
    // It says whether there was something to give back, and either is well.
    let _either_is_well = unsafe { libc::malloc_trim(0) };
}
