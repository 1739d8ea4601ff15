// Preloaded into User-Mode Linux by uml.sh, so that Debian's 6.1 kernel runs on newer processors.
//
// That kernel saves the processor's extended state in a buffer whose size was fixed when it was built, and panics where the
// state is larger (AMX). This stands between: the kernel of the machine sees a buffer that is large enough, and the guest sees
// as much of it as it asked for. What lies beyond stays as it is.
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define XSTATE 0x202           // NT_X86_XSTATE
#define HEADER 512             // where XSTATE_BV is
#define AMX (3ULL << 17)       // XTILECFG, XTILEDATA

static long trace(long request, long pid, void *address, void *data) {
  return syscall(SYS_ptrace, request, pid, address, data);
}

static long xstate(long request, long pid, struct iovec *asked) {
  static __thread unsigned char whole[1 << 15] __attribute__((aligned(64)));
  struct iovec vector = {whole, sizeof whole};
  if (trace(PTRACE_GETREGSET, pid, (void *)XSTATE, &vector) < 0) return -1;
  size_t length = vector.iov_len < asked->iov_len ? vector.iov_len : asked->iov_len;
  if (request == PTRACE_GETREGSET) {
    memcpy(asked->iov_base, whole, length);
    asked->iov_len = length;
    return 0;
  }
  uint64_t before, after;
  memcpy(&before, whole + HEADER, sizeof before);
  memcpy(whole, asked->iov_base, length);
  memcpy(&after, whole + HEADER, sizeof after);
  after = (after & ~AMX) | (before & AMX);
  memcpy(whole + HEADER, &after, sizeof after);
  return trace(PTRACE_SETREGSET, pid, (void *)XSTATE, &vector);
}

long ptrace(enum __ptrace_request request, ...) {
  va_list arguments;
  va_start(arguments, request);
  pid_t pid = va_arg(arguments, pid_t);
  void *address = va_arg(arguments, void *), *data = va_arg(arguments, void *);
  va_end(arguments);
  if ((request == PTRACE_GETREGSET || request == PTRACE_SETREGSET) && (long)address == XSTATE)
    return xstate(request, pid, data);
  if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
    // The system call writes the word, the library function returns it.
    long word;
    if (trace(request, pid, address, &word) < 0) return -1;
    errno = 0;
    return word;
  }
  return trace(request, pid, address, data);
}
