//! Three weeks of a school, made up from a seed: who asks for which object, in order, and how large each is.
//!
//! Fifteen days of five classes with four lessons and thirty pupils. A lesson is 37 objects and none to two videos; the plan of a
//! week is new each week, and parallel classes work through the same one, each in its own order within the day or within the week.
//! Beside it the platform's bundles
//! with new versions every week, a long tail of 60,000 objects (Zipf 0.75), calls of an API that nobody repeats, and one night a
//! week a crawl of 6,000 objects of that tail. No real trace of a school with sizes is public; see the caveat in store.md.

/// Weeks, and days of each.
const WEEKS: u32 = 3;
const DAYS: u32 = 5;
/// Lessons a day, pupils in a class.
const LESSONS: u32 = 4;
const PUPILS: u32 = 30;
/// Who has the same lesson when.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    /// Parallel classes have it on the same day.
    Day,
    /// In the same week.
    Week,
}

/// Which plan each class follows: two pairs of parallel classes and one alone.
const CLASSES: [usize; 5] = [0, 0, 1, 1, 2];
const PLANS: usize = 3;
/// What one lesson loads, beside its videos.
const PARTS: u32 = 37;
/// The platform's bundles: each pupil loads all of them in each lesson; so many get a new version every week.
const BUNDLES: usize = 13;
const RENEWED: usize = 3;
/// The tail, how often a pupil asks for something of it in a lesson, and how steep it is.
const TAIL: usize = 60_000;
const STRAYS: u32 = 4;
const ZIPF: f64 = 0.75;
/// Calls of an API in a pupil's lesson; no two are the same.
const CALLS: u32 = 3;
/// A night's crawl.
const CRAWL: usize = 6_000;
/// Lengths in bytes: median and spread (sigma of the logarithm); of 37 parts the mean is 45 KiB, the tail's is 22 KiB.
const PART: (f64, f64) = (20e3, 1.25);
const STRAY: (f64, f64) = (16e3, 1.25);
const CALL: (f64, f64) = (1.5e3, 0.5);
const BUNDLE: (f64, f64) = (40e3, 0.8);
const VIDEO: (f64, f64) = (5.4e6, 0.5);
/// No object is smaller or larger.
const SMALLEST: f64 = 200.0;
const LARGEST: f64 = 20e6;

/// Who asks for what.
pub(crate) struct Trace {
    /// Object numbers, in the order of the requests.
    pub(crate) asks: Vec<u32>,
    /// The length of each object, bytes.
    pub(crate) sizes: Vec<u64>,
}

impl Trace {
    /// The trace of this seed.
    pub(crate) fn new(seed: u64, within: Order) -> Trace {
        let together = match within {
            Order::Day => LESSONS,
            Order::Week => DAYS * LESSONS,
        };
        let mut school = School { random: Random(seed), sizes: Vec::new(), asks: Vec::new() };
        let tail: Vec<u32> = (0..TAIL).map(|_| school.object(STRAY)).collect();
        let zipf = Zipf::new();
        let mut bundles: Vec<u32> = (0..BUNDLES).map(|_| school.object(BUNDLE)).collect();
        for week in 0..WEEKS {
            for _ in 0..RENEWED {
                let which = school.random.below(BUNDLES);
                bundles[which] = school.object(BUNDLE);
            }
            let plans: Vec<Vec<Vec<u32>>> = (0..PLANS).map(|_| (0..DAYS * LESSONS).map(|_| school.lesson()).collect()).collect();
            for plan in CLASSES {
                let mut order: Vec<usize> = (0..plans[plan].len()).collect();
                for part in order.chunks_mut(together as usize) {
                    school.random.shuffle(part);
                }
                for (slot, lesson) in (0..).zip(order) {
                    // Days of 86,400 s, lessons every hour from eight.
                    let start = f64::from(week * 7 + slot / LESSONS) * 86_400.0 + f64::from(8 + slot % LESSONS) * 3600.0;
                    for _ in 0..PUPILS {
                        school.pupil(start, &plans[plan][lesson], &bundles, &tail, &zipf);
                    }
                }
            }
            school.crawl(f64::from(week * 7 + 2) * 86_400.0 + 3600.0, &tail);
        }
        school.done()
    }

    /// Bytes of all requests.
    pub(crate) fn traffic(&self) -> u64 {
        self.asks.iter().map(|ask| self.sizes[*ask as usize]).sum()
    }

    /// Objects, and their bytes.
    pub(crate) fn footprint(&self) -> (usize, u64) {
        (self.sizes.len(), self.sizes.iter().sum())
    }
}

struct School {
    random: Random,
    sizes: Vec<u64>,
    /// When, and what.
    asks: Vec<(f64, u32)>,
}

impl School {
    fn object(&mut self, (median, spread): (f64, f64)) -> u32 {
        let size = (median * (spread * self.random.normal()).exp()).clamp(SMALLEST, LARGEST);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped above")]
        self.sizes.push(size as u64);
        u32::try_from(self.sizes.len() - 1).expect("few objects")
    }

    /// Its objects, the videos last.
    fn lesson(&mut self) -> Vec<u32> {
        let videos = self.random.below(3);
        let mut objects: Vec<u32> = (0..PARTS).map(|_| self.object(PART)).collect();
        objects.extend((0..videos).map(|_| self.object(VIDEO)));
        objects
    }

    /// One pupil's lesson: bundles and the first page at once, the rest over half an hour, strays and calls between.
    fn pupil(&mut self, start: f64, lesson: &[u32], bundles: &[u32], tail: &[u32], zipf: &Zipf) {
        let start = start + self.random.share() * 180.0;
        for bundle in bundles {
            self.ask(start, 5.0, *bundle);
        }
        for (part, object) in (0u32..).zip(lesson) {
            self.ask(start + f64::from(part) * 45.0, 60.0, *object);
        }
        for _ in 0..STRAYS {
            let stray = tail[zipf.draw(&mut self.random)];
            self.ask(start, 2400.0, stray);
        }
        for _ in 0..CALLS {
            let call = self.object(CALL);
            self.ask(start, 2400.0, call);
        }
    }

    /// A night's crawl reads a part of the tail from end to end.
    fn crawl(&mut self, start: f64, tail: &[u32]) {
        let mut order: Vec<usize> = (0..tail.len()).collect();
        self.random.shuffle(&mut order);
        for which in order.into_iter().take(CRAWL) {
            self.ask(start, 10_800.0, tail[which]);
        }
    }

    fn ask(&mut self, from: f64, within: f64, object: u32) {
        self.asks.push((from + self.random.share() * within, object));
    }

    /// In order of time; objects that nobody asked for are left out.
    fn done(mut self) -> Trace {
        self.asks.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
        let mut names = vec![None; self.sizes.len()];
        let mut sizes = Vec::new();
        let mut asks = Vec::with_capacity(self.asks.len());
        for (_, object) in self.asks {
            let name = *names[object as usize].get_or_insert_with(|| {
                sizes.push(self.sizes[object as usize]);
                u32::try_from(sizes.len() - 1).expect("few objects")
            });
            asks.push(name);
        }
        Trace { asks, sizes }
    }
}

/// Ranks of the tail by how often they are asked for.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new() -> Zipf {
        let mut sum = 0.0;
        let weights = (1..=u32::try_from(TAIL).expect("few")).map(|rank| {
            sum += f64::from(rank).powf(-ZIPF);
            sum
        });
        Zipf(weights.collect())
    }

    fn draw(&self, random: &mut Random) -> usize {
        let at = random.share() * self.0[TAIL - 1];
        self.0.partition_point(|sum| *sum <= at).min(TAIL - 1)
    }
}

/// splitmix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// From 0 to below 1.
    fn share(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).expect("32 bits")) / 4_294_967_296.0
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % most as u64).expect("below most")
    }

    /// Normally distributed (Box and Muller 1958).
    fn normal(&mut self) -> f64 {
        let (one, two) = (1.0 - self.share(), self.share());
        (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * two).cos()
    }

    /// Fisher and Yates.
    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
