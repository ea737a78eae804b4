// SPDX-License-Identifier: GPL-2.0
/*
 * A host that looks closely, below the driver's own code: what QEMU never does.
 *
 * It believes a page to be in the balloon from the moment that it has used the buffer that names
 * it on the inflate queue, until it has used one that names it on the deflate queue (queues.c).
 * Each wrong is a line on stdout; exit status 1 if there was one.
 */
#include "host.h"

#define SHRINK_BATCH 128UL
#define FIRST_PRIORITY 12
#define MOST_MUTEXES 1000000UL /* taken in one story */

bool taken[PAGES], asks_at_the_end;
long available;
unsigned long wrongs;
unsigned long last_put; /* the turn at which a page was freed last */
void (*meanwhile[PLACES])(void);
unsigned int locks_before; /* that are taken before it happens at LOCKING */
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

static struct task_struct program;
struct task_struct *current = &program;

void let_happen(enum place place)
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
void may_wait(const char *wrong)
{
	if (in_reclaim || spinning)
		complain(wrong, in_reclaim);
}

void spin_take(spinlock_t *lock)
{
	if (meanwhile[LOCKING] && !in_reclaim && !spinning && !locks_before--)
		let_happen(LOCKING);
	lock->lent = false; /* it was waited for */
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
	static unsigned long times;

	may_wait("waits for a mutex where it may not");
	if (++times > MOST_MUTEXES) {
		puts("goes round and round");
		exit(1);
	}
	if (lock->held)
		complain("waits for a mutex that nobody gives back", 0);
	lock->held = true;
}

void msleep(unsigned int ms)
{
	may_wait("sleeps where it may not");
	let_happen(RESTING);
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
		if (asks_at_the_end) {
			expect("pages that it counts for its own inflation", countable(), 0);
			expect("pages freed for its own inflation", reclaim(300), SHRINK_STOP);
		}
		return NULL;
	}
	list_del(&page->lru);
	taken[page_to_pfn(page)] = true;
	available--;
	return page;
}

void put_page(struct page *page)
{
	unsigned long pfn = page_to_pfn(page);

	if (!taken[pfn])
		complain("a page is freed that was not in the balloon", pfn);
	if (believed[pfn] && !gone && virtio_has_feature(&vdev, VIRTIO_BALLOON_F_MUST_TELL_HOST))
		complain("a page is used before the host was told", pfn);
	if (page->movable || page->offline || page->private)
		complain("a page is freed with the marks of the balloon's", pfn);
	taken[pfn] = false;
	available++;
	last_put = turns;
	list_add(&page->lru, &unused);
}

/* Zones, whose pages lie beside each other here. */
#define ZONES 2
static long managed[ZONES]; /* pages more, or less, than at first */

unsigned int page_zone(const struct page *page)
{
	return page_to_pfn(page) % ZONES;
}

void adjust_managed_page_count(const struct page *page, long count)
{
	managed[page_zone(page)] += count;
}

bool managed_rightly(void)
{
	long should[ZONES] = {};
	bool used = virtio_has_feature(&vdev, VIRTIO_BALLOON_F_DEFLATE_ON_OOM);

	for (unsigned long i = 0; i < PAGES; i++)
		should[page_zone(&memory[i])] -= taken[i] && !used;
	return !memcmp(managed, should, sizeof(managed));
}

void balloon_page_insert(struct balloon_dev_info *info, struct page *page)
{
	page->movable = page->offline = true;
	page->private = (unsigned long)info;
	list_add(&page->lru, &info->pages);
}

size_t balloon_page_list_enqueue(struct balloon_dev_info *info, struct list_head *pages)
{
	size_t n = 0;

	for (; !list_empty(pages); n++) {
		struct page *page = list_first_entry(pages, struct page, lru);

		list_del(&page->lru);
		balloon_page_insert(info, page);
	}
	let_happen(PUTTING);
	return n;
}

size_t balloon_page_list_dequeue(struct balloon_dev_info *info, struct list_head *pages,
				 size_t most)
{
	size_t n = 0;

	for (; n < most && !list_empty(&info->pages); n++) {
		struct page *page = list_first_entry(&info->pages, struct page, lru);

		page->movable = page->offline = false;
		page->private = 0;
		list_move(&page->lru, pages);
	}
	return n;
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

static struct notifier_block *notified;

int register_oom_notifier(struct notifier_block *block)
{
	notified = block;
	return 0;
}

void unregister_oom_notifier(struct notifier_block *block)
{
	if (gone && !woken)
		complain("nobody wakes who is about to kill and waits for a gone device", 0);
	notified = NULL;
}

bool can_ask(void)
{
	return registered || notified;
}

unsigned long before_a_kill(void)
{
	unsigned long freed = 0;

	/* A host that must be told first may be waited for here, as nowhere else. */
	in_reclaim = !virtio_has_feature(&vdev, VIRTIO_BALLOON_F_MUST_TELL_HOST);
	notified->notifier_call(notified, 0, &freed);
	in_reclaim = false;
	return freed;
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

unsigned long countable_to_all(void)
{
	struct shrink_control control = {};
	unsigned long pages;

	in_reclaim = true;
	pages = registered->count_objects(registered, &control);
	in_reclaim = false;
	return pages;
}

unsigned long countable(void)
{
	struct reclaim_state *was = current->reclaim_state, state = {};
	unsigned long pages;

	current->reclaim_state = was ? was : &state;
	pages = countable_to_all();
	current->reclaim_state = was;
	return pages;
}

/*
 * It counts once, then asks for its part of that, a batch at a time; a part that is less than a
 * batch is put off.
 */
unsigned long shrink_slab(int priority)
{
	unsigned long all = countable(), least = min(all, SHRINK_BATCH);
	unsigned long left = 2 * all >> priority, freed = 0;

	while (left && left >= least) {
		unsigned long batch = min(left, SHRINK_BATCH), got = reclaim(batch);

		if (got == SHRINK_STOP)
			break;
		freed += got;
		left -= batch;
	}
	return freed;
}

/*
 * It tries harder and harder until so many pages are credited to it; what a shrinker returns is no
 * credit.
 */
unsigned long reclaim_at_least(unsigned long pages)
{
	struct reclaim_state state = {};
	unsigned long freed = 0;

	current->reclaim_state = &state;
	for (int at = FIRST_PRIORITY; at >= 0 && state.reclaimed_slab < pages; at--)
		freed += shrink_slab(at);
	current->reclaim_state = NULL;
	return freed;
}

unsigned long count(const bool *of)
{
	unsigned long n = 0;

	for (unsigned long i = 0; i < PAGES; i++)
		n += of[i];
	return n;
}

static void get(void)
{
}

static u64 get_features(struct virtio_device *of)
{
	return of->offered;
}

static const struct virtio_config_ops ops = {
	.get = get,
	.get_features = get_features,
	.del_vqs = del_vqs,
};

void begin_host(unsigned long bits)
{
	for (unsigned long i = 0; i < PAGES; i++)
		list_add(&memory[i].lru, &unused);
	vdev.offered = bits | BIT_ULL(VIRTIO_BALLOON_F_STATS_VQ);
	for (unsigned int i = 0; i < the_driver->feature_table_size; i++)
		vdev.features |= vdev.offered & BIT_ULL(the_driver->feature_table[i]);
	vdev.features |= BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC); /* the kernel takes it for all */
	vdev.config = &ops;
	vdev.space.actual = 77; /* of a driver before a reset, as QEMU keeps it */
}

/* What is not compiled into this program. */
void balloon_counters_start(struct balloon *b)
{
}

void balloon_counters_stop(struct balloon *b)
{
}

int balloon_report_start(struct balloon *b)
{
	return 0;
}

void balloon_report_stop(struct balloon *b)
{
}
