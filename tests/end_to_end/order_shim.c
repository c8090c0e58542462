/* Preloaded into the gateway by test_durability.py: writes down, in one order, what reaches the disk and what leaves.
 *
 * Each line of the file that ORDER_LOG names is `NUMBER KIND DETAIL`; the numbers are one atomic count.
 *
 *   arrived -        a request came in on the gateway's own port (ORDER_LISTEN_PORT)
 *   logged  CALL     bytes with this call id were written into the write-ahead log
 *   synced  -        fsync or fdatasync of the write-ahead log has returned
 *   sent    ATTEMPT  bytes are about to be written to the provider's port (ORDER_UPSTREAM_PORT); `-` without an id
 *
 * `logged` and `synced` are counted after the system call and `sent` before it, so an order that they show is a true one.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define CALL "call_"
#define CALL_LENGTH 31 /* call_ and 26 characters */
#define HEADER "x-client-request-id: "

static atomic_long count;
static int out = -1;
static int listen_port, upstream_port;

static int number_of(const char *variable) {
    const char *text = getenv(variable);
    return text ? atoi(text) : 0;
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("ORDER_LOG");
    if (path != NULL) {
        out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
    listen_port = number_of("ORDER_LISTEN_PORT");
    upstream_port = number_of("ORDER_UPSTREAM_PORT");
}

static void note(const char *kind, const char *detail, int length) {
    char line[256];
    int size = snprintf(line, sizeof line, "%ld %s %.*s\n", atomic_fetch_add(&count, 1), kind, length, detail);
    if (out >= 0) {
        syscall(SYS_write, out, line, (size_t)size); /* not through ourselves */
    }
}

typedef int (*name_of)(int, struct sockaddr *, socklen_t *);

static int has_port(int fd, int port, name_of whose) {
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    if (port == 0 || whose(fd, (struct sockaddr *)&address, &size) != 0) {
        return 0;
    }
    return address.ss_family == AF_INET && ntohs(((struct sockaddr_in *)&address)->sin_port) == port;
}

static int is_wal(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path);
    return size > 4 && memcmp(path + size - 4, "-wal", 4) == 0;
}

static int is_id(const char *bytes) {
    for (int at = strlen(CALL); at < CALL_LENGTH; at++) {
        if (!islower((unsigned char)bytes[at]) && !isdigit((unsigned char)bytes[at])) {
            return 0;
        }
    }
    return 1;
}

static void note_logged(int fd, const char *bytes, size_t size) {
    if (size < CALL_LENGTH || !is_wal(fd)) {
        return;
    }
    const char *end = bytes + size;
    while ((bytes = memmem(bytes, (size_t)(end - bytes), CALL, strlen(CALL))) != NULL) {
        if (end - bytes >= CALL_LENGTH && is_id(bytes)) {
            note("logged", bytes, CALL_LENGTH);
        }
        bytes += strlen(CALL);
    }
}

static void note_sent(int fd, const char *bytes, size_t size) {
    if (!has_port(fd, upstream_port, getpeername)) {
        return;
    }
    const char *found = memmem(bytes, size, HEADER, strlen(HEADER));
    if (found == NULL) {
        note("sent", "-", 1);
        return;
    }
    found += strlen(HEADER);
    const char *stop = memchr(found, '\r', size - (size_t)(found - bytes));
    note("sent", found, stop == NULL ? 0 : (int)(stop - found));
}

static void note_arrived(int fd, const char *bytes, ssize_t size) {
    if (size > 5 && memcmp(bytes, "POST ", 5) == 0 && has_port(fd, listen_port, getsockname)) {
        note("arrived", "-", 1);
    }
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd) {
    int result = REAL(fsync)(fd);
    if (result == 0 && is_wal(fd)) {
        note("synced", "-", 1);
    }
    return result;
}

int fdatasync(int fd) {
    int result = REAL(fdatasync)(fd);
    if (result == 0 && is_wal(fd)) {
        note("synced", "-", 1);
    }
    return result;
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset) {
    ssize_t result = REAL(pwrite)(fd, bytes, size, offset);
    note_logged(fd, bytes, size);
    return result;
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset) {
    ssize_t result = REAL(pwrite64)(fd, bytes, size, offset);
    note_logged(fd, bytes, size);
    return result;
}

ssize_t write(int fd, const void *bytes, size_t size) {
    note_sent(fd, bytes, size);
    ssize_t result = REAL(write)(fd, bytes, size);
    note_logged(fd, bytes, size);
    return result;
}

ssize_t writev(int fd, const struct iovec *parts, int number) {
    if (number > 0) {
        note_sent(fd, parts[0].iov_base, parts[0].iov_len);
    }
    return REAL(writev)(fd, parts, number);
}

ssize_t send(int fd, const void *bytes, size_t size, int flags) {
    note_sent(fd, bytes, size);
    return REAL(send)(fd, bytes, size, flags);
}

ssize_t sendto(int fd, const void *bytes, size_t size, int flags, const struct sockaddr *to, socklen_t length) {
    note_sent(fd, bytes, size);
    return REAL(sendto)(fd, bytes, size, flags, to, length);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    if (message->msg_iovlen > 0) {
        note_sent(fd, message->msg_iov[0].iov_base, message->msg_iov[0].iov_len);
    }
    return REAL(sendmsg)(fd, message, flags);
}

ssize_t read(int fd, void *bytes, size_t size) {
    ssize_t result = REAL(read)(fd, bytes, size);
    note_arrived(fd, bytes, result);
    return result;
}

ssize_t recv(int fd, void *bytes, size_t size, int flags) {
    ssize_t result = REAL(recv)(fd, bytes, size, flags);
    note_arrived(fd, bytes, result);
    return result;
}
