/* A pretended webcam at /dev/video0, so that OpenCV's real V4L2 code runs where no camera is.
 *
 *   cc -O1 -shared -fPIC -o fake_webcam.so fake_webcam.c -ldl
 *   LD_PRELOAD=./fake_webcam.so FAKE_FPS=30 FAKE_YUYV=frames.yuyv python ...
 *
 * It takes over open, ioctl, select, poll and close for that one name: YUYV, 640x480, memory-mapped buffers.
 * FAKE_YUYV: raw frames, played in a circle. FAKE_UNPLUG_AFTER=n: after n frames every call fails with ENODEV,
 * as when the plug is pulled. FAKE_HANG_AFTER=n: after n frames no more come. FAKE_STUCK=seconds: opening
 * takes that long, as with a driver that hangs.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { WIDTH = 640, HEIGHT = 480, FRAME = WIDTH * HEIGHT * 2, BUFFERS = 8, QUEUE = 64 };
static const char *NAME = "/dev/video0";

static int device = -1;            /* the descriptor we handed out, -1 while closed */
static char *memory, *frames;      /* the buffers; the recorded frames */
static size_t recorded;            /* how many frames are recorded */
static int queue[QUEUE], head, tail, streaming, number;
static double began;
static unsigned rate = 30;

static int (*real_open)(const char *, int, ...);
static int (*real_close)(int);
static int (*real_ioctl)(int, unsigned long, ...);
static int (*real_select)(int, fd_set *, fd_set *, fd_set *, struct timeval *);
static int (*real_poll)(struct pollfd *, nfds_t, int);

__attribute__((constructor)) static void find_real(void) {
    real_open = dlsym(RTLD_NEXT, "open");
    real_close = dlsym(RTLD_NEXT, "close");
    real_ioctl = dlsym(RTLD_NEXT, "ioctl");
    real_select = dlsym(RTLD_NEXT, "select");
    real_poll = dlsym(RTLD_NEXT, "poll");
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static int setting(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

static int unplugged(void) { return number >= setting("FAKE_UNPLUG_AFTER", 1 << 30); }
static double due(void) { return began + (double)(number + 1) / rate; }

static int open_camera(void) {
    usleep(setting("FAKE_STUCK", 0) * 1000000);
    if (unplugged() || device >= 0) {
        errno = device >= 0 ? EBUSY : ENODEV;
        return -1;
    }
    device = memfd_create("camera", 0);
    if (ftruncate(device, BUFFERS * FRAME)) return -1;
    memory = mmap(0, BUFFERS * FRAME, PROT_READ | PROT_WRITE, MAP_SHARED, device, 0);
    rate = setting("FAKE_FPS", 30);
    const char *path = getenv("FAKE_YUYV");
    if (path && !frames) {
        struct stat status;
        int file = real_open(path, O_RDONLY);
        fstat(file, &status);
        recorded = status.st_size / FRAME;
        frames = mmap(0, status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    }
    head = tail = streaming = 0;
    return device;
}

#define OPEN(function)                                        \
    int function(const char *path, int flags, ...) {          \
        va_list rest;                                         \
        va_start(rest, flags);                                \
        int mode = va_arg(rest, int);                         \
        va_end(rest);                                         \
        if (!strcmp(path, NAME)) return open_camera();        \
        return real_open(path, flags, mode);                  \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    if (fd >= 0 && fd == device) {
        munmap(memory, BUFFERS * FRAME);
        device = -1;
    }
    return real_close(fd);
}

/* Wait for the next frame; 0 when the time is over before. */
static int frame_within(double seconds) {
    double left = due() - now();
    if (number >= setting("FAKE_HANG_AFTER", 1 << 30) || left > seconds) {
        usleep(seconds * 1e6);
        return 0;
    }
    if (left > 0) usleep(left * 1e6);
    return 1;
}

int select(int count, fd_set *readable, fd_set *writable, fd_set *odd, struct timeval *timeout) {
    if (device < 0 || !readable || device >= count || !FD_ISSET(device, readable))
        return real_select(count, readable, writable, odd, timeout);
    int ready = frame_within(timeout ? timeout->tv_sec + timeout->tv_usec * 1e-6 : 1e6);
    FD_ZERO(readable);
    if (ready) FD_SET(device, readable);
    return ready;
}

int poll(struct pollfd *watched, nfds_t count, int timeout) {
    if (count != 1 || device < 0 || watched->fd != device) return real_poll(watched, count, timeout);
    int ready = frame_within(timeout < 0 ? 1e6 : timeout * 1e-3);
    watched->revents = ready ? POLLIN : 0;
    return ready;
}

static void describe(struct v4l2_pix_format *format) {
    format->width = WIDTH;
    format->height = HEIGHT;
    format->pixelformat = V4L2_PIX_FMT_YUYV;
    format->field = V4L2_FIELD_NONE;
    format->bytesperline = WIDTH * 2;
    format->sizeimage = FRAME;
    format->colorspace = V4L2_COLORSPACE_SRGB;
}

static int take(struct v4l2_buffer *buffer) {
    if (!streaming || head == tail || due() > now() + 0.002) {
        errno = EAGAIN;
        return -1;
    }
    long missed = (long)((now() - due()) * rate); /* a driver drops what finds no buffer */
    if (missed > tail - head) number += missed - (tail - head);
    int index = queue[head++ % QUEUE];
    if (frames)
        memcpy(memory + index * FRAME, frames + (size_t)(number % recorded) * FRAME, FRAME);
    else
        memset(memory + index * FRAME, number * 3 & 255, FRAME);
    buffer->index = index;
    buffer->bytesused = buffer->length = FRAME;
    buffer->m.offset = index * FRAME;
    buffer->sequence = number;
    buffer->timestamp.tv_sec = due();
    buffer->timestamp.tv_usec = (due() - (long)due()) * 1e6;
    buffer->flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
    number++;
    return 0;
}

static int control(unsigned request, void *data) {
    switch (request) {
    case VIDIOC_QUERYCAP: {
        struct v4l2_capability *can = data;
        memset(can, 0, sizeof *can);
        strcpy((char *)can->driver, "fake");
        strcpy((char *)can->card, "Fake webcam");
        can->capabilities = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
        return 0;
    }
    case VIDIOC_ENUM_FMT: {
        struct v4l2_fmtdesc *format = data;
        if (format->index) break;
        format->pixelformat = V4L2_PIX_FMT_YUYV;
        return 0;
    }
    case VIDIOC_G_FMT:
    case VIDIOC_S_FMT:
    case VIDIOC_TRY_FMT:
        describe(&((struct v4l2_format *)data)->fmt.pix);
        return 0;
    case VIDIOC_G_PARM:
    case VIDIOC_S_PARM: {
        struct v4l2_captureparm *parameters = &((struct v4l2_streamparm *)data)->parm.capture;
        parameters->capability = V4L2_CAP_TIMEPERFRAME;
        parameters->timeperframe.numerator = 1;
        parameters->timeperframe.denominator = rate;
        return 0;
    }
    case VIDIOC_ENUMINPUT: {
        struct v4l2_input *input = data;
        if (input->index) break;
        input->type = V4L2_INPUT_TYPE_CAMERA;
        return 0;
    }
    case VIDIOC_G_INPUT:
        *(int *)data = 0;
        return 0;
    case VIDIOC_S_INPUT:
        return 0;
    case VIDIOC_REQBUFS: {
        struct v4l2_requestbuffers *wanted = data;
        if (wanted->count > BUFFERS) wanted->count = BUFFERS;
        return 0;
    }
    case VIDIOC_QUERYBUF: {
        struct v4l2_buffer *buffer = data;
        buffer->length = FRAME;
        buffer->m.offset = buffer->index * FRAME;
        return 0;
    }
    case VIDIOC_QBUF:
        queue[tail++ % QUEUE] = ((struct v4l2_buffer *)data)->index;
        return 0;
    case VIDIOC_STREAMON:
        streaming = 1;
        began = now();
        number = 0;
        return 0;
    case VIDIOC_STREAMOFF:
        streaming = head = tail = 0;
        return 0;
    case VIDIOC_DQBUF:
        return take(data);
    }
    errno = EINVAL;
    return -1;
}

int ioctl(int fd, unsigned long request, ...) {
    va_list rest;
    va_start(rest, request);
    void *data = va_arg(rest, void *);
    va_end(rest);
    if (device < 0 || fd != device) return real_ioctl(fd, request, data);
    if (unplugged()) {
        errno = ENODEV;
        return -1;
    }
    return control((unsigned)request, data);
}
