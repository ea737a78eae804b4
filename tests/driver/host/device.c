// SPDX-License-Identifier: GPL-2.0
/*
 * A host that looks closely, below the driver's own code: what QEMU never does.
 *
 * It believes a page to be in the balloon from the moment that it has used the buffer that names it on the inflate
 * queue, until it has used one that names it on the deflate queue. It uses a buffer only at the second turn after the
 * kick, so a driver that does not wait goes on too early. Each wrong is a line on stdout; exit status 1 if there was
 * one.
 */
#include "host.h"

#define MOST_WORKS 8
#define PATIENCE 1000 /* turns that anybody may have to wait */

bool believed[PAGES], taken[PAGES], asks_at_the_end;
unsigned long wrongs, last_delay, turns; /* of the host, while somebody waited */
unsigned long last_put; /* the turn at which a page was freed last */
void (*meanwhile[PLACES])(void);
struct virtio_device vdev;
static struct page memory[PAGES];
static struct list_head unused = LIST_HEAD_INIT(unused);
static bool in_reclaim;
static unsigned int spinning;

void complain(const char *what, unsigned long number)
{
	if (wrongs++ < 5)
		printf("%s (%lu)\n", what, number);
}

void expect(const char *what, unsigned long is, unsigned long should)
{
	if (is == should)
		return;
	printf("%s: %lu instead of %lu\n", what, is, should);
	wrongs++;
}

static struct task_struct worker, program;
struct task_struct *current = &program;

static void let_happen(enum place place)
{
	void (*does)(void) = meanwhile[place];
	struct task_struct *was = current;

	meanwhile[place] = NULL;
	if (!does)
		return;
	current = &program;
	does();
	current = was;
}

/* Locks. */
void spin_take(spinlock_t *lock)
{
	if (lock->held)
		complain("a spinlock is taken twice", 0);
	lock->held = true;
	spinning++;
}

void spin_give(spinlock_t *lock)
{
	lock->held = false;
	spinning--;
}

void mutex_lock(struct mutex *lock)
{
	if (lock->held || in_reclaim || spinning)
		complain("waits for a mutex where it may not", in_reclaim);
	lock->held = true;
}

/* Memory: what was freed last is taken first, so that pages come back as soon as they can. */
unsigned long page_to_pfn(const struct page *page)
{
	return (unsigned long)(page - memory);
}

struct page *balloon_page_alloc(void)
{
	struct page *page;

	let_happen(TAKING);
	page = list_first_entry_or_null(&unused, struct page, lru);
	if (!page) {
		if (asks_at_the_end)
			expect("pages freed for its own inflation", reclaim(300), SHRINK_STOP);
		return NULL;
	}
	list_del(&page->lru);
	taken[page_to_pfn(page)] = true;
	return page;
}

void put_page(struct page *page)
{
	unsigned long pfn = page_to_pfn(page);

	if (!taken[pfn])
		complain("a page is freed that was not in the balloon", pfn);
	if (believed[pfn] && virtio_has_feature(&vdev, VIRTIO_BALLOON_F_MUST_TELL_HOST))
		complain("a page is used before the host was told", pfn);
	taken[pfn] = false;
	last_put = turns;
	list_add(&page->lru, &unused);
}

size_t balloon_page_list_enqueue(struct balloon_dev_info *info, struct list_head *pages)
{
	size_t n = 0;

	for (; !list_empty(pages); n++)
		list_move(pages->next, &info->pages);
	let_happen(PUTTING);
	return n;
}

size_t balloon_page_list_dequeue(struct balloon_dev_info *info, struct list_head *pages, size_t most)
{
	size_t n = 0;

	for (; n < most && !list_empty(&info->pages); n++)
		list_move(info->pages.next, pages);
	return n;
}

/* Work. */
static struct workqueue_struct only_queue;
static struct work_struct *works[MOST_WORKS];

struct workqueue_struct *alloc_workqueue(const char *name, int flags, int most)
{
	return &only_queue;
}

static void due(struct work_struct *work, bool later)
{
	unsigned int i = 0;

	while (works[i] && works[i] != work)
		i++;
	works[i] = work;
	work->due = !later;
	work->later = later;
}

void queue_work(struct workqueue_struct *queue, struct work_struct *work)
{
	due(work, false);
}

void mod_delayed_work(struct workqueue_struct *queue, struct delayed_work *work, unsigned long delay)
{
	due(&work->work, delay > 0);
	if (delay)
		last_delay = delay;
}

void cancel_work_sync(struct work_struct *work)
{
	work->due = work->later = false;
}

/* Every work item that is due, until none is. */
void let_work(void)
{
	bool again = true;

	current = &worker;
	while (again) {
		again = false;
		for (unsigned int i = 0; i < MOST_WORKS && works[i]; i++) {
			if (!works[i]->due)
				continue;
			works[i]->due = false;
			works[i]->does(works[i]);
			again = true;
		}
	}
	current = &program;
}

/* What waits for its time has waited long enough. */
void let_time_pass(void)
{
	for (unsigned int i = 0; i < MOST_WORKS && works[i]; i++) {
		works[i]->due |= works[i]->later;
		works[i]->later = false;
	}
	let_work();
}

bool waits(void)
{
	for (unsigned int i = 0; i < MOST_WORKS && works[i]; i++)
		if (works[i]->later)
			return true;
	return false;
}

/* Reclaim. */
static struct shrinker *registered;

int register_shrinker(struct shrinker *shrinker, const char *name)
{
	registered = shrinker;
	return 0;
}

void unregister_shrinker(struct shrinker *shrinker)
{
	registered = NULL;
}

unsigned long reclaim(unsigned long pages)
{
	struct shrink_control control = { .nr_to_scan = pages };
	unsigned long freed;

	in_reclaim = true;
	freed = registered->scan_objects(registered, &control);
	in_reclaim = false;
	return freed;
}

/* The queues. */
enum { INFLATE, DEFLATE, QUEUES };
static struct virtqueue queues[QUEUES];

static void use(struct virtqueue *vq)
{
	for (unsigned int i = 0; i < vq->entries; i++) {
		u32 pfn = vq->buffer[i];

		if (vq == &queues[INFLATE] && believed[pfn])
			complain("a page is given that the host believes to have", pfn);
		if (vq == &queues[DEFLATE] && !believed[pfn])
			complain("a page is taken that the host does not believe to have", pfn);
		believed[pfn] = vq == &queues[INFLATE];
	}
	vq->used = true;
}

void device_turn(void)
{
	if (in_reclaim || spinning)
		complain("waits for the host where it may not", in_reclaim);
	let_happen(WAITING);
	for (unsigned int i = 0; i < QUEUES; i++) {
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

int virtio_find_vqs(struct virtio_device *to, unsigned int n, struct virtqueue *vqs[], vq_callback_t *callbacks[],
		    const char *const names[], void *unused_here)
{
	for (unsigned int i = 0; i < QUEUES; i++) {
		queues[i] = (struct virtqueue){ .vdev = to };
		vqs[i] = &queues[i];
	}
	return 0;
}

int virtqueue_add_outbuf(struct virtqueue *vq, struct scatterlist *sg, unsigned int n, void *data, gfp_t gfp)
{
	if (vq->buffer)
		return -ENOSPC;
	vq->buffer = sg->at;
	vq->entries = sg->bytes / sizeof(__le32);
	return 0;
}

void virtqueue_kick(struct virtqueue *vq)
{
	vq->kicked = true;
}

void *virtqueue_get_buf(struct virtqueue *vq, unsigned int *bytes)
{
	if (!vq->used)
		return NULL;
	*vq = (struct virtqueue){ .vdev = vq->vdev };
	return vq;
}

unsigned long count(const bool *of)
{
	unsigned long n = 0;

	for (unsigned long i = 0; i < PAGES; i++)
		n += of[i];
	return n;
}

void virtio_reset_device(struct virtio_device *of)
{
	expect("pages that the host believes to have when it is reset", count(believed), 0);
	of->space.actual = 0;
}

static void del_vqs(struct virtio_device *of)
{
}

static void get(void)
{
}

static const struct virtio_config_ops ops = { .get = get, .del_vqs = del_vqs };

void begin_host(unsigned long bits)
{
	for (unsigned long i = 0; i < PAGES; i++)
		list_add(&memory[i].lru, &unused);
	vdev.features = bits;
	vdev.config = &ops;
}

/* What is not compiled into this program. */
void balloon_counters_start(struct balloon *b)
{
}

void balloon_counters_stop(struct balloon *b)
{
}

int balloon_stats_start(struct balloon *b)
{
	return 0;
}

void balloon_stats_answered(struct virtqueue *vq)
{
}

void balloon_stats_work(struct work_struct *work)
{
}

int balloon_report_start(struct balloon *b)
{
	return 0;
}

void balloon_report_stop(struct balloon *b)
{
}
