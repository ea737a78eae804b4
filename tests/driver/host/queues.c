// SPDX-License-Identifier: GPL-2.0
/*
 * The host's end of the queues.
 *
 * A buffer of page numbers is used at the second turn after the kick, so a driver that does not
 * wait goes on too early; one of statistics is kept until ask() gives it back.
 */
#include "host.h"

#define PATIENCE 1000 /* turns that anybody may have to wait */
#define MOST_NUMBERS 256 /* in a buffer, as some hosts rely on */

/* Then, if there are, that of hints and that of reports. */
enum { INFLATE, DEFLATE, STATS, QUEUES = STATS + 3 };

bool believed[PAGES];
unsigned long turns; /* of the host, while somebody waited */
unsigned long readings; /* of statistics that have come */
bool gone; /* the device was pulled out: its queues are broken, and nobody answers any more */
bool shut; /* its queues are broken and it was reset, for a shutdown: nobody is told */
bool since_before; /* who is at work now has been so since before the device went */
bool woken; /* who waited then */
static struct virtqueue queues[QUEUES];

static void use(struct virtqueue *vq)
{
	const u32 *pfns = vq->buffer;

	if (vq->bytes > MOST_NUMBERS * sizeof(*pfns))
		complain("a buffer of more numbers than Linux's own driver gives",
			 vq->bytes / sizeof(*pfns));
	for (unsigned int i = 0; i < vq->bytes / sizeof(*pfns); i++) {
		u32 pfn = cpu_to_virtio32(&vdev, pfns[i]);

		if (pfn >= PAGES) {
			complain("a page is named that there is not", pfn);
			continue;
		}
		if (vq == &queues[INFLATE] && believed[pfn])
			complain("a page is given that the host believes to have", pfn);
		if (vq == &queues[DEFLATE] && !believed[pfn])
			complain("a page is taken that the host does not believe to have", pfn);
		believed[pfn] = vq == &queues[INFLATE];
	}
	vq->used = true;
}

static void read_statistics(struct virtqueue *vq)
{
	const struct virtio_balloon_stat *stats = vq->buffer;
	unsigned long seen = 0;

	for (unsigned int i = 0; i < vq->bytes / sizeof(*stats); i++) {
		if (stats[i].tag >= TAGS || (seen >> stats[i].tag) & 1)
			complain("a statistic that there is not, or is told twice", stats[i].tag);
		else
			seen |= 1UL << stats[i].tag;
	}
	expect("statistics told", seen, (1UL << TAGS) - 1);
	readings++;
}

/* The host wants a new reading. */
void ask(void)
{
	queues[STATS].used = queues[STATS].buffer;
	queues[STATS].called(&queues[STATS]);
}

void device_turn(long timeout)
{
	may_wait("waits for the host where it may not");
	let_happen(WAITING);
	if (gone && !woken) {
		puts("nobody wakes what waits for a device that has gone");
		exit(1);
	}
	if (shut && timeout > 10 * HZ) {
		puts("nobody wakes what waits for a device that was reset for a shutdown");
		exit(1);
	}
	if (gone)
		since_before = false;
	turns += gone || shut;
	for (unsigned int i = 0; i < STATS && !gone && !shut; i++) {
		if (!queues[i].kicked || queues[i].used)
			continue;
		if (turns++ % 2)
			use(&queues[i]);
	}
	if (turns > PATIENCE * PAGES) {
		puts("waits for ever");
		exit(1);
	}
}

void wake_up(wait_queue_head_t *head)
{
	woken = true;
}

int virtio_find_vqs(struct virtio_device *to, unsigned int n, struct virtqueue *vqs[],
		    vq_callback_t *callbacks[], const char *const names[], void *unused_here)
{
	/* As in QEMU, which has a queue for what it offers, whatever the driver takes of that. */
	bool hints = to->offered & BIT_ULL(VIRTIO_BALLOON_F_FREE_PAGE_HINT);
	unsigned int most = STATS + 1;

	if (virtio_has_feature(to, VIRTIO_BALLOON_F_REPORTING))
		most += hints + 1;
	expect("queues asked for", n, most);
	for (unsigned int i = 0; i < n && i < QUEUES; i++) {
		queues[i] = (struct virtqueue){ .vdev = to, .called = callbacks[i] };
		vqs[i] = &queues[i];
	}
	return 0;
}

void del_vqs(struct virtio_device *of)
{
	memset(queues, 0, sizeof(queues));
}

int virtqueue_add_outbuf(struct virtqueue *vq, struct scatterlist *sg, unsigned int n, void *data,
			 gfp_t gfp)
{
	if (!vq->vdev)
		complain("a queue is used that was given up", 0);
	if (!sg->bytes)
		complain("a buffer of no bytes, for which QEMU gives a device up", 0);
	if (virtqueue_is_broken(vq))
		return -EIO;
	if (vq->buffer)
		return -ENOSPC;
	vq->buffer = sg->at;
	vq->bytes = sg->bytes;
	return 0;
}

void virtqueue_kick(struct virtqueue *vq)
{
	vq->kicked = true;
	if (vq == &queues[STATS])
		read_statistics(vq);
}

void *virtqueue_get_buf(struct virtqueue *vq, unsigned int *bytes)
{
	if (!vq->used || gone || shut)
		return NULL;
	*vq = (struct virtqueue){ .vdev = vq->vdev, .called = vq->called };
	return vq;
}

bool virtqueue_is_broken(const struct virtqueue *vq)
{
	return shut || (gone && !since_before);
}

void virtio_reset_device(struct virtio_device *of)
{
	if (!gone)
		expect("pages that the host believes to have when it is reset", count(believed), 0);
	of->space.actual = 0;
}
