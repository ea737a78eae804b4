// SPDX-License-Identifier: GPL-2.0
/*
 * What is done with the driver, and what must then be true.
 *
 *   device BITS STORY    BITS: the feature bits offered; STORY: see main()
 */
#include "host.h"

void decide(u32 pages)
{
	vdev.space.num_pages = pages;
	the_driver->config_changed(&vdev);
	let_work();
}

void has(const char *when, unsigned long pages)
{
	expect(when, count(taken), pages);
	expect("what the host believes to have then", count(believed), pages);
	expect("what it is told then", vdev.space.actual, pages);
	expect("whether the guest's memory is counted as it should then", managed_rightly(), true);
}

static void not_yet(void)
{
	expect("what the host is told of pages that it has not yet taken", vdev.space.actual, 0);
}

static void resized(void)
{
	meanwhile[WAITING] = not_yet;
	decide(1000);
	has("pages given", 1000);
	decide(300);
	has("pages left", 300);
}

static void reclaimed(void)
{
	bool first = !virtio_has_feature(&vdev, VIRTIO_BALLOON_F_MUST_TELL_HOST);

	decide(1000);
	expect("freed in reclaim", reclaim(300), first ? 300 : SHRINK_STOP);
	expect("pages held after reclaim", count(taken), first ? 700 : 1000);
	let_work();
	has("pages after reclaim", 700);
	expect("freed in reclaim", reclaim(1000000), first ? 700 : SHRINK_STOP);
	let_work();
	has("pages after reclaim has asked for everything", 0);
	decide(1000);
	has("pages after a new decision", 1000);
}

/*
 * The guest cannot give what is wanted, and has just been asked for memory when it would try
 * again.
 */
static void lacking(void)
{
	decide(PAGES + 1000);
	has("pages of a guest that has no more", PAGES);
	reclaim(300);
	let_time_pass();
	has("pages after it could have tried again", PAGES - 300);
}

static void take_300(void)
{
	reclaim(300);
}

static void take_all(void)
{
	unsigned long freed = reclaim(1000000);

	if (!virtio_has_feature(&vdev, VIRTIO_BALLOON_F_MUST_TELL_HOST))
		expect("freed while the host takes a message", freed, 999);
}

/* Reclaim asks while more pages are on their way: what it took is not put in again by those. */
static void overtaken(void)
{
	struct balloon *b = vdev.priv;
	bool first = !virtio_has_feature(&vdev, VIRTIO_BALLOON_F_MUST_TELL_HOST);

	decide(1000);
	meanwhile[TAKING] = take_300;
	decide(2000);
	has("pages after reclaim came before a chunk", first ? 700 : 956);
	expect("pages given in all", b->counters.inflated, first ? 1000 : 1256);
	let_time_pass();
	has("pages some time later", first ? 700 : 956);
	decide(0);
	meanwhile[PUTTING] = take_300;
	decide(2000);
	has("pages after reclaim took the first chunk", 0);
}

static void lower(void)
{
	vdev.space.num_pages = 100;
	the_driver->config_changed(&vdev);
}

/*
 * The host decides anew while pages for its last decision are being taken: of these no more go in
 * than it wants now.
 */
static void lowered(void)
{
	struct balloon *b = vdev.priv;

	meanwhile[TAKING] = lower;
	decide(1000);
	has("pages after the host has thought better of it", 100);
	expect("pages given in all", b->counters.inflated, 100);
}

/*
 * Reclaim that finds nothing else to take is content with what it was given. Where the host must be
 * told first it asks many times before it is given anything, and gets what it asked for at once.
 */
static void credited(void)
{
	bool first = !virtio_has_feature(&vdev, VIRTIO_BALLOON_F_MUST_TELL_HOST);

	decide(1000);
	expect("freed for reclaim that wants 32", reclaim_at_least(32), first ? 128 : 0);
	let_work();
	has("pages after reclaim wanted 32", 872);
}

/* Reclaim wants everything while the host takes its time with the page that was freed before. */
static void spare(void)
{
	decide(1000);
	reclaim(1);
	meanwhile[WAITING] = take_all;
	let_work();
	has("pages after reclaim has asked twice", 0);
}

/* Reclaim asks again before it was paid what it asked for first. */
static void twice(void)
{
	decide(1000);
	reclaim(600);
	meanwhile[WAITING] = take_300;
	let_work();
	has("pages after reclaim has asked for 900", 100);
}

/*
 * A guest that is given memory has it before the host has taken a single message, where the host
 * allows that.
 */
static void prompt(void)
{
	unsigned long before;

	decide(1000);
	before = turns;
	decide(0);
	has("pages after all were given back", 0);
	if (!virtio_has_feature(&vdev, VIRTIO_BALLOON_F_MUST_TELL_HOST))
		expect("turns of the host before the last page was the guest's",
		       last_put - before, 0);
}

/*
 * Reclaim at its last counts once and asks for all, batch by batch: it is given what ends the
 * trouble, and then no more.
 */
static void calm(void)
{
	bool first = !virtio_has_feature(&vdev, VIRTIO_BALLOON_F_MUST_TELL_HOST);
	long low = SZ_16M >> PAGE_SHIFT;

	decide(1000);
	available = low;
	expect("pages that it counts while there is no trouble", countable(), 0);
	available = low - 200;
	expect("pages that it counts in trouble", countable(), 1000);
	expect("freed until the trouble was over", shrink_slab(0), first ? 256 : 0);
	let_work();
	has("pages after the trouble was over", first ? 744 : 872);
}

/* Somebody has the kernel drop what it can, as drop_caches does: nobody lacks memory. */
static void dropped(void)
{
	decide(1000);
	expect("pages that it counts when caches are dropped", countable_to_all(), 0);
	expect("pages that it counts for reclaim", countable(), 1000);
}

/* The reclaim that its own inflation causes is not answered with what it has just inflated. */
static void own(void)
{
	asks_at_the_end = true;
	decide(PAGES + 1000);
	asks_at_the_end = false;
	has("pages of a guest whose last page is in the balloon", PAGES);
}

/* Somebody has the books open: reclaim goes away with nothing rather than wait. */
static void locked(void)
{
	struct balloon *b = vdev.priv;

	decide(1000);
	b->books.held = true;
	expect("freed while the books are open", reclaim(300), SHRINK_STOP);
	b->books.held = false;
	let_work();
	has("pages after reclaim that found the books open", 1000);
}

/* It tries in vain, ever less often, until the host wants what it has. */
static void patient(void)
{
	unsigned long first, before;

	decide(PAGES + 1000);
	first = last_delay;
	for (unsigned int i = 0; i < 10; i++) {
		before = last_delay;
		let_time_pass();
		if (last_delay < before)
			complain("tries again sooner than before", last_delay);
	}
	if (last_delay < 10 * first)
		complain("tries again nearly as often as at first", last_delay);
	expect("whether it will try again", waits(), true);
	decide(PAGES);
	expect("whether it will try again for what it has", waits(), false);
	decide(PAGES + 1000);
	expect("what passes before it tries again for a new decision", last_delay, first);
}

/* Reclaim frees, and the host wants more before the work item has told it. */
static void crossed(void)
{
	decide(1000);
	reclaim(300);
	vdev.space.num_pages = 2000;
	the_driver->config_changed(&vdev);
	let_work();
	has("pages after a decision that crossed reclaim", 2000);
}

/*
 * Reclaim asks at any moment while the guest is given pages: none of these is put in again for
 * that.
 */
static void anywhere(void)
{
	struct balloon *b = vdev.priv;

	for (unsigned int k = 0; k < 60; k++) {
		unsigned long inflated;

		decide(1000);
		inflated = b->counters.inflated;
		locks_before = k;
		meanwhile[LOCKING] = take_300;
		decide(600);
		meanwhile[LOCKING] = NULL;
		if (count(taken) > 600 || count(taken) < 300)
			complain("pages held after all that", count(taken));
		has("pages at last", count(taken));
		expect("pages put in while the guest is given some", b->counters.inflated,
		       inflated);
		decide(0);
	}
}

/* Reclaim asks a balloon that has nothing, or nothing at hand: its only page is being moved. */
static void empty(void)
{
	struct balloon *b = vdev.priv;
	struct page *only;

	decide(1000);
	reclaim(1000);
	let_work();
	expect("freed of nothing", reclaim(1), SHRINK_STOP);
	decide(1);
	has("pages after a new decision", 1);
	only = list_first_entry(&b->info.pages, struct page, lru);
	list_del(&only->lru);
	expect("freed while it is being moved", reclaim(1), SHRINK_STOP);
	expect("whether anything is untold then", !list_empty(&b->untold), false);
	let_work();
	list_add(&only->lru, &b->info.pages);
	decide(2);
	has("pages after one more decision", 2);
}

/*
 * A process is about to be killed while another processor has the books open for a moment, or
 * talks to the host.
 */
static void killing(void)
{
	struct balloon *b = vdev.priv;
	bool first = !virtio_has_feature(&vdev, VIRTIO_BALLOON_F_MUST_TELL_HOST);

	decide(1000);
	b->books.lent = true;
	expect("freed before a process is killed", before_a_kill(), 256);
	let_work();
	has("pages after a process was about to be killed", 744);
	let_time_pass();
	has("pages some time later", 744);
	b->books.lent = true;
	b->wire.held = true;
	expect("freed before one is killed while others talk to the host", before_a_kill(),
	       first ? 256 : 0);
	b->wire.held = false;
	let_work();
	has("pages after two processes were about to be killed", 488);
}

/* A legacy device's byte order is not that of le32. */
static void foreign(void)
{
	vdev.turned = true;
	resized();
}

/* Compaction moves a page, to one of the same zone or of another; what the driver says to it. */
static int move(bool other_zone)
{
	struct balloon *b = vdev.priv;
	struct page *from = list_first_entry(&b->info.pages, struct page, lru);
	struct page *to = balloon_page_alloc();
	int says;

	while ((page_zone(from) != page_zone(to)) != other_zone)
		from = list_first_entry(&from->lru, struct page, lru);
	list_del(&from->lru);
	b->info.isolated_pages++;
	says = b->info.migratepage(&b->info, to, from, MIGRATE_SYNC);
	if (says == MIGRATEPAGE_SUCCESS)
		return says;
	b->info.isolated_pages--;
	list_add(&from->lru, &b->info.pages);
	put_page(to);
	return says;
}

static void moved(void)
{
	decide(1000);
	for (unsigned int other_zone = 0; other_zone < 2; other_zone++) {
		expect("moving a page", move(other_zone), MIGRATEPAGE_SUCCESS);
		has("pages after one was moved", 1000);
	}
}

/*
 * Compaction comes while the host has much to hear of what reclaim took: it goes away rather than
 * wait for all that.
 */
static void hurried(void)
{
	unsigned long before;

	if (virtio_has_feature(&vdev, VIRTIO_BALLOON_F_MUST_TELL_HOST))
		return; /* such a host has heard of everything */
	decide(1000);
	reclaim(300);
	before = turns;
	expect("moving a page before its turn", move(false), -EAGAIN);
	expect("turns of the host that compaction waited for", turns - before, 0);
	let_work();
	expect("moving a page", move(false), MIGRATEPAGE_SUCCESS);
	has("pages after one was moved", 700);
}

#define STORY(name) { #name, name }

int main(int words, char **word)
{
	static const struct {
		const char *name;
		void (*tell)(void);
	} stories[] = {
		STORY(resized), STORY(reclaimed), STORY(lacking), STORY(own), STORY(overtaken),
		STORY(lowered), STORY(credited), STORY(spare), STORY(twice), STORY(prompt),
		STORY(patient), STORY(locked), STORY(crossed), STORY(calm), STORY(moved),
		STORY(hurried), STORY(dropped), STORY(slept), STORY(anywhere), STORY(empty),
		STORY(killing),
		STORY(foreign), STORY(asked), STORY(changed), STORY(pulled), STORY(interrupted),
		STORY(frozen), STORY(unheard), STORY(aside), STORY(rebooted),
	};

	setvbuf(stdout, NULL, _IOLBF, 0); /* a sanitizer ends the program without it */
	begin_host(strtoul(word[1], NULL, 0));
	the_driver->validate(&vdev);
	expect("whether telling of free pages may take some",
	       virtio_has_feature(&vdev, VIRTIO_RING_F_INDIRECT_DESC), false);
	expect("whether the driver comes up", the_driver->probe(&vdev), 0);
	let_work();
	has("pages before the host has decided", 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(stories); i++)
		if (!strcmp(word[2], stories[i].name))
			stories[i].tell();
	the_driver->remove(&vdev);
	expect("pages that it keeps for ever", count(taken), 0);
	expect("whether the guest's memory is whole again", managed_rightly(), true);
	return wrongs > 0;
}
