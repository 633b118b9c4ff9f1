//! The loop that sends requests and takes answers: one thread, which sleeps only in the kernel.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::clock::Clock;
use super::connection::{Connection, Room};
use super::job::{Handover, InFlight, Job, NextStage, Ran, Watch};
use super::room::most_connections;
use super::slot::{Flight, Slot, Turn};
use super::source::{Prepared, Source};
use crate::measure::course::Limits;
use crate::measure::{
    ARRIVALS, ClientFacts, Histogram, Load, Longest, Moment, Phase, Phases, Random, Record, Schedule, Stage,
};

/// Requests that are begun before answers are looked at again.
const BURST: usize = 16;
/// Answers that are looked at in one turn.
const EVENTS: usize = 512;
/// Longest sleep: limits of time and wishes to stop are looked at as often.
const TICK: Duration = Duration::from_millis(50);
/// Time that a server has to end requests whose connections were closed. On an H200 the first answers right after them were late.
const REST: Duration = Duration::from_secs(2);
/// Longest idle time after which a connection is used again. Uvicorn closes one after 5 s (`timeout_keep_alive`).
const KEEP: Duration = Duration::from_secs(2);

/// A run.
pub(super) struct Driver<'a> {
    job: &'a Job,
    watch: &'a Watch,
    epoll: OwnedFd,
    most_connections: u64,
    slots: Vec<Slot>,
    /// Slots without a conversation; the last used one is at the end.
    free: Vec<usize>,
    /// Turns that follow an answer, in the order in which they are due.
    turns: VecDeque<WaitingTurn>,
    stage: Stage,
    phases: Phases,
    /// True if the stage has ended and the next one is not known yet.
    is_handing_over: bool,
    resting: Option<Rest>,
    /// True after a request for which this host had no room: others would fail at once, too, until the next stage.
    is_out_of_room: bool,
    data_ended: bool,
    /// Stages before this one: each has a schedule of its own.
    stages: u64,
    /// The moment from which the stage's own moments are counted.
    origin: Moment,
    source: Source,
    schedule: Option<Schedule>,
    /// The next request of a trace, which has its moment.
    upcoming: Option<Prepared>,
    next_due: Option<Moment>,
    records: Vec<Record>,
    clock: Clock,
    lag: Histogram,
    stamped: u64,
    unstamped: u64,
    reconnects: u32,
    /// The moment at which the stage began: that of its schedule's first request.
    begun_at: Moment,
    /// Processor time of this thread, and the moment, when measuring began.
    begun: Option<(Duration, Moment)>,
    room: Room,
}

impl<'a> Driver<'a> {
    pub(super) fn new(job: &'a Job, watch: &'a Watch, source: Source) -> io::Result<Self> {
        Ok(Self {
            job,
            watch,
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            most_connections: most_connections(),
            slots: Vec::new(),
            free: Vec::new(),
            turns: VecDeque::new(),
            stage: job.stage,
            phases: Phases::new(&job.stage.load, job.stage.extent),
            is_handing_over: false,
            resting: None,
            is_out_of_room: false,
            data_ended: false,
            stages: 0,
            origin: Moment(0),
            source,
            schedule: schedule_of(job, &job.stage, 0),
            upcoming: None,
            next_due: None,
            records: Vec::new(),
            clock: Clock::start(),
            lag: Histogram::default(),
            stamped: 0,
            unstamped: 0,
            reconnects: 0,
            begun_at: Moment(0),
            begun: None,
            room: Room::new(),
        })
    }

    /// Opens the connections of a closed loop: their handshakes are no part of the first answers.
    pub(super) fn open_connections(&mut self) -> io::Result<()> {
        let Load::Concurrency(count) = self.stage.load else {
            return Ok(());
        };
        self.check_room(count)?;
        let (route, watch) = (self.job.target.route(), self.watch);
        let opened = Connection::open_all(route, count, &|| watch.is_to_end())?;
        for connection in opened {
            let index = self.add_slot();
            self.register(index, &connection, EventFlags::IN)?;
            self.slots[index].take_connection(connection, false);
            self.free.push(index);
        }
        // The first slot gets the first request.
        self.free.reverse();
        Ok(())
    }

    /// Runs one stage after the other until none follows, and hands over what was measured of each.
    pub(super) fn run(mut self, handover: &Handover) -> io::Result<()> {
        self.clock = Clock::start();
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        let mut checked = Moment(0);
        self.next_due = self.due_next(Moment(0));
        loop {
            let now = self.clock.compare();
            let is_pending = self.issue(now)?;
            if self.phases.is_over() {
                match self.find_next(handover, now) {
                    Next::Stage(stage) => self.begin_stage(stage, now),
                    Next::None => return Ok(()),
                    Next::Unknown => {}
                }
            }
            if self.watch.is_stopped() {
                if !self.is_handing_over {
                    // Nobody may be there to take it.
                    let _ = handover.ended.send(self.leave_stage(now));
                }
                return Ok(());
            }
            let sleep = if is_pending {
                Duration::ZERO
            } else {
                self.sleep_from(now)
            };
            events.clear();
            let timeout = Timespec::try_from(sleep).ok();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                timeout.as_ref(),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let now = self.clock.compare();
            for event in &events {
                self.take_event(*event)?;
            }
            if now.since(checked) >= TICK {
                checked = now;
                self.check_time(now)?;
            }
        }
    }

    /// Hands over the stage that has ended, and asks for the next one.
    fn find_next(&mut self, handover: &Handover, now: Moment) -> Next {
        if !self.is_handing_over {
            self.is_handing_over = true;
            if handover.ended.send(self.leave_stage(now)).is_err() {
                return Next::None;
            }
        }
        if self.resting.is_some() {
            return self.rest(now);
        }
        match handover.next.try_recv() {
            Ok(next) => self.let_go(next),
            Err(TryRecvError::Empty) => Next::Unknown,
            Err(TryRecvError::Disconnected) => Next::None,
        }
    }

    /// Does with what is in flight as the next stage says.
    fn let_go(&mut self, NextStage { stage, in_flight }: NextStage) -> Next {
        let time = match in_flight {
            InFlight::TakeOver => return Next::Stage(stage),
            InFlight::Drop => {
                self.drop_requests();
                REST
            }
            InFlight::Finish(time) => time,
        };
        for turn in self.turns.drain(..) {
            self.slots[turn.slot].conversation = None;
            self.free.push(turn.slot);
        }
        self.resting = Some(Rest {
            stage,
            time,
            until: None,
        });
        (self.schedule, self.next_due) = (None, None);
        Next::Unknown
    }

    /// Returns the stage after the rest when that is over. It begins when nothing is in flight.
    fn rest(&mut self, now: Moment) -> Next {
        let is_busy = self.busy() > 0;
        let Some(rest) = self.resting.as_mut().filter(|_| !is_busy) else {
            return Next::Unknown;
        };
        if now < *rest.until.get_or_insert(now.after(rest.time)) {
            return Next::Unknown;
        }
        let stage = rest.stage;
        self.resting = None;
        self.records.clear();
        Next::Stage(stage)
    }

    /// Begins a stage, which takes over what is in flight.
    fn begin_stage(&mut self, stage: Stage, now: Moment) {
        let mut carried = 0;
        let mut oldest = now;
        // Those that have ended since the last stage was left are told, and have no part in the warm-up of this one.
        for record in &mut self.records {
            (record.number, record.phase) = (0, Phase::WarmUp);
            oldest = oldest.min(record.sent).min(record.due);
        }
        for slot in &mut self.slots {
            if let Some(since) = slot.carry_over(carried) {
                oldest = oldest.min(since);
                carried += 1;
            }
        }
        for turn in &mut self.turns {
            self.slots[turn.slot].carry_over(carried);
            if let Some(place) = &mut turn.request.turn {
                place.conversation = carried;
            }
            carried += 1;
        }
        self.watch.measured.store(0, Ordering::Relaxed);
        self.watch.missed.store(0, Ordering::Relaxed);
        self.stage = stage;
        self.origin = oldest;
        (self.is_handing_over, self.is_out_of_room) = (false, false);
        self.phases = Phases::after(carried, now, &stage.load, stage.extent);
        self.begun = None;
        (self.lag, self.stamped, self.unstamped) = (Histogram::default(), 0, 0);
        (self.reconnects, self.clock.steps, self.source.waited) = (0, 0, Duration::ZERO);
        self.stages += 1;
        self.schedule = schedule_of(self.job, &stage, self.stages);
        self.begun_at = now;
        self.next_due = self.due_next(now);
        self.note_hand_over(now);
    }

    fn drop_requests(&mut self) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if slot.drop_request() {
                self.watch.in_flight.fetch_sub(1, Ordering::Relaxed);
                self.free.push(index);
            }
        }
    }

    /// Returns the moment of the next request of an open loop: that of the schedule, or that which a trace gives the request.
    fn due_next(&mut self, now: Moment) -> Option<Moment> {
        let at = if let Load::Replay { .. } = self.stage.load {
            if self.upcoming.is_none() {
                self.upcoming = self.next_request();
            }
            if self.upcoming.is_none() {
                self.end_requests(now);
            }
            self.upcoming.as_ref()?.at?
        } else {
            self.schedule.as_mut()?.next()?
        };
        Some(self.begun_at.after(at))
    }

    /// Begins the requests that are due. Returns true if others are due, too.
    fn issue(&mut self, now: Moment) -> io::Result<bool> {
        self.phases.grow(now);
        self.note_hand_over(now);
        for _ in 0..BURST {
            if self.is_left() || self.resting.is_some() || self.is_out_of_room {
                return Ok(false);
            }
            if self.turns.front().is_some_and(|turn| turn.due <= now) {
                self.issue_turn(now)?;
                continue;
            }
            let Some(due) = self.due_now(now) else {
                return Ok(false);
            };
            let Some(index) = self.free_slot(now) else {
                return Ok(false);
            };
            let Some(prepared) = self.upcoming.take().or_else(|| self.next_request()) else {
                self.end_requests(now);
                self.schedule = None;
                self.next_due = None;
                self.free.push(index);
                return Ok(false);
            };
            let (number, phase) = self.phases.issue(now);
            self.note_hand_over(now);
            if self.is_left() {
                // It is the first request of the next stage.
                self.upcoming = Some(prepared);
                self.free.push(index);
                return Ok(false);
            }
            self.next_due = self.due_next(now);
            let mut prepared = prepared;
            if let (Some(place), Some(conversation)) = (&mut prepared.turn, &mut prepared.conversation) {
                place.conversation = self.phases.begun() - 1;
                conversation.set_number(place.conversation);
            }
            self.begin(index, number, phase, due, prepared)?;
        }
        Ok(true)
    }

    /// Returns the next request; `None` at the end of the data, or when the stage is to end.
    fn next_request(&mut self) -> Option<Prepared> {
        let watch = self.watch;
        self.source.next(&|| watch.is_to_end())
    }

    /// Ends the issuing of requests, because there is no further one.
    fn end_requests(&mut self, now: Moment) {
        if self.watch.is_to_end() {
            self.phases.break_off(now);
            return;
        }
        self.data_ended = true;
        self.phases.exhaust(now);
    }

    /// Begins the turn that has waited longest.
    fn issue_turn(&mut self, now: Moment) -> io::Result<()> {
        let Some(turn) = self.turns.pop_front() else {
            return Ok(());
        };
        let (number, phase) = self.phases.issue_turn(now);
        self.note_hand_over(now);
        if self.is_left() {
            // It is a request of the next stage.
            self.turns.push_front(turn);
            return Ok(());
        }
        self.close_old_connection(turn.slot, now);
        self.begin(turn.slot, number, phase, turn.due, turn.request)
    }

    /// Returns the next turn of the conversation of a slot whose request has ended; `None` if the conversation has ended.
    fn next_turn(&mut self, slot: usize, record: &mut Record, now: Moment) -> Option<WaitingTurn> {
        let mut conversation = self.slots[slot].conversation.take()?;
        // Nothing else needs it, and all answers of a run may be larger than memory.
        let answer = record.text.take()?;
        if !record.is_complete() || self.resting.is_some() {
            return None;
        }
        let request = conversation.answer(&answer, &self.job.settings)?;
        self.slots[slot].conversation = Some(conversation);
        Some(WaitingTurn {
            due: now.after(self.job.think_time),
            slot,
            request: self.source.prepare_turn(&request),
        })
    }

    /// Returns true if the stage has ended and nobody has said yet that the load is to stay at its height.
    fn is_left(&self) -> bool {
        self.phases.is_over() && !self.is_handing_over
    }

    /// Returns the moment at which the next request was due, if that has come.
    fn due_now(&self, now: Moment) -> Option<Moment> {
        match self.stage.load {
            Load::Concurrency(_) => self.has_room().then_some(now),
            Load::Rate { .. } | Load::Replay { .. } => self.next_due.filter(|due| *due <= now),
        }
    }

    /// Returns a slot without a request. One whose connection may be closed by the server soon loses that.
    fn free_slot(&mut self, now: Moment) -> Option<usize> {
        if !self.has_room() {
            return None;
        }
        if let Some(index) = self.free.pop() {
            self.close_old_connection(index, now);
            return Some(index);
        }
        Some(self.add_slot())
    }

    fn close_old_connection(&mut self, index: usize, now: Moment) {
        let slot = &mut self.slots[index];
        let is_old = now.since(slot.idle_since) > KEEP && slot.idle_since > Moment(0);
        let room = &mut self.room;
        if is_old || slot.connection.as_mut().is_some_and(|one| one.is_stale(room)) {
            slot.connection = None;
        }
    }

    fn add_slot(&mut self) -> usize {
        self.slots
            .push(Slot::new(self.job.settings.api, self.job.settings.keeps));
        self.slots.len() - 1
    }

    fn begin(
        &mut self,
        index: usize,
        number: u32,
        phase: Phase,
        due: Moment,
        prepared: Prepared,
    ) -> io::Result<()> {
        self.watch.in_flight.fetch_add(1, Ordering::Relaxed);
        let flight = Flight::new(number, phase, due, prepared, self.clock.now());
        if self.slots[index].connection.is_none()
            && let Err(error) = self.connect(index)
        {
            self.slots[index].take_request(flight);
            return self.fail_to_connect(index, &error);
        }
        self.slots[index].take_request(flight);
        self.write(index)
    }

    /// Refuses more connections than this process may have beside the files that its results need.
    fn check_room(&self, connections: u32) -> io::Result<()> {
        if u64::from(connections) <= self.most_connections {
            return Ok(());
        }
        Err(rustix::io::Errno::MFILE.into())
    }

    /// Begins to open a connection for a slot.
    fn connect(&mut self, index: usize) -> io::Result<()> {
        self.check_room(u32::try_from(index + 1).unwrap_or(u32::MAX))?;
        let connection = Connection::begin(self.job.target.route())?;
        self.register(index, &connection, EventFlags::IN | EventFlags::OUT)?;
        self.slots[index].take_connection(connection, true);
        Ok(())
    }

    /// Ends the request of a slot for which no connection can be begun.
    fn fail_to_connect(&mut self, index: usize, error: &io::Error) -> io::Result<()> {
        let turn = self.slots[index].fail_to_connect(error, self.clock.now());
        self.take_turn(index, turn)
    }

    fn register(&self, index: usize, connection: &Connection, flags: EventFlags) -> io::Result<()> {
        let socket = &connection.socket;
        epoll::add(&self.epoll, socket, EventData::new_u64(index as u64), flags)?;
        Ok(())
    }

    fn watch_for(&self, index: usize, flags: EventFlags) -> io::Result<()> {
        if let Some(connection) = &self.slots[index].connection {
            let socket = &connection.socket;
            epoll::modify(&self.epoll, socket, EventData::new_u64(index as u64), flags)?;
        }
        Ok(())
    }

    fn write(&mut self, index: usize) -> io::Result<()> {
        let turn = self.slots[index].write(&self.clock);
        match turn {
            Turn::Going if self.slots[index].waits_for_handshake() => self.watch_for(index, EventFlags::IN),
            Turn::Going => self.watch_for(index, EventFlags::IN | EventFlags::OUT),
            Turn::Written => self.watch_for(index, EventFlags::IN),
            turn => self.take_turn(index, turn),
        }
    }

    fn take_event(&mut self, event: Event) -> io::Result<()> {
        let index = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
        let flags = event.flags;
        if flags.intersects(EventFlags::OUT | EventFlags::ERR) && self.slots[index].is_writing() {
            self.write(index)?;
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            self.read(index)?;
        }
        Ok(())
    }

    fn read(&mut self, index: usize) -> io::Result<()> {
        let slot = &mut self.slots[index];
        let Some(connection) = &mut slot.connection else {
            return Ok(());
        };
        let received = match connection.read(&mut self.room) {
            Ok(received) => received,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                return Ok(());
            }
            Err(error) => {
                let turn = slot.break_off(&error, self.clock.now());
                return self.take_turn(index, turn);
            }
        };
        let (now, end) = (self.clock.now(), received.end);
        if !received.data.is_empty() {
            let arrived = received
                .stamp
                .and_then(|stamp| self.clock.moment_of(stamp))
                .filter(|arrived| *arrived <= now);
            if self.begun.is_some() {
                match arrived {
                    Some(arrived) => {
                        self.stamped += 1;
                        self.lag.add(now.since(arrived));
                    }
                    None => self.unstamped += 1,
                }
            }
            let (turn, tokens) = slot.receive(received.data, arrived.unwrap_or(now));
            self.watch.tokens.fetch_add(tokens, Ordering::Relaxed);
            self.take_turn(index, turn)?;
        }
        if let Some(end) = end {
            let turn = self.slots[index].receive_end(end, now);
            return self.take_turn(index, turn);
        }
        // The server's part of a handshake lets the request go out.
        if self.slots[index].is_writing() {
            return self.write(index);
        }
        Ok(())
    }

    fn take_turn(&mut self, index: usize, turn: Turn) -> io::Result<()> {
        match turn {
            Turn::Going | Turn::Written => {}
            Turn::Again => {
                self.reconnects += 1;
                return match self.connect(index) {
                    Ok(()) => self.write(index),
                    Err(error) => self.fail_to_connect(index, &error),
                };
            }
            Turn::Ended(mut record) => {
                let now = self.clock.now();
                let next = self.next_turn(index, &mut record, now);
                let conversation = record.turn.map_or(record.number, |turn| turn.conversation);
                match next {
                    Some(_) => self.phases.end_turn(record.phase, now),
                    None => self
                        .phases
                        .end(conversation, record.phase, record.is_complete(), now),
                }
                self.note_hand_over(now);
                self.watch.in_flight.fetch_sub(1, Ordering::Relaxed);
                if record.is_own_fault() {
                    // No figure of this stage says anything, and its slot would fail again at once.
                    self.phases.break_off(now);
                    self.is_out_of_room = true;
                }
                let counter = if record.is_complete() {
                    &self.watch.completed
                } else {
                    &self.watch.failed
                };
                counter.fetch_add(1, Ordering::Relaxed);
                if record.phase == Phase::Measured {
                    self.watch.measured.fetch_add(1, Ordering::Relaxed);
                    let limits = self.job.limits.as_ref();
                    let misses = |limits: &Limits| !record.is_own_fault() && !limits.are_kept_by(&record);
                    if limits.is_some_and(misses) {
                        self.watch.missed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                self.records.extend(self.watch.give_record(*record));
                match next {
                    Some(turn) => self.turns.push_back(turn),
                    None => self.free.push(index),
                }
            }
        }
        Ok(())
    }

    /// Begins to count what the client itself does, when measuring begins.
    fn note_hand_over(&mut self, now: Moment) {
        if self.begun.is_none() && self.phases.hand_over().is_some() {
            self.begun = Some((processor_time(), now));
            self.watch.hand_over(self.clock.unix_seconds(now));
        }
    }

    /// Returns true if a further conversation may begin.
    fn has_room(&self) -> bool {
        u32::try_from(self.busy()).is_ok_and(|busy| busy < self.phases.allowed())
    }

    /// Returns the number of conversations that go on.
    fn busy(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Returns the longest of what is waited for: the tokens of the answers of a slot, and the pauses between them.
    fn longest(&self) -> Longest {
        let turns = |slot: &Slot| slot.conversation.as_ref().map_or(1, |one| one.turns());
        let tokens = self
            .slots
            .iter()
            .filter_map(|slot| Some(slot.asked_tokens()?.saturating_mul(turns(slot))));
        let most_turns = self.slots.iter().map(turns).max().unwrap_or(1);
        Longest {
            tokens: tokens.max().unwrap_or(0),
            pauses: self.job.think_time.saturating_mul(most_turns),
        }
    }

    fn check_time(&mut self, now: Moment) -> io::Result<()> {
        self.phases.tick(now, self.longest());
        if self.watch.is_stage_to_end() {
            self.phases.break_off(now);
        }
        let (share, phase) = self.phases.progress(now);
        self.watch.show_progress(share, phase);
        let stall = Duration::from_secs(u64::from(self.stage.extent.stall_s));
        for index in 0..self.slots.len() {
            let turn = self.slots[index].check_stall(now, stall);
            self.take_turn(index, turn)?;
        }
        Ok(())
    }

    fn sleep_from(&self, now: Moment) -> Duration {
        if self.is_out_of_room {
            return TICK;
        }
        let due = self.next_due.filter(|_| self.has_room());
        let turn = self.turns.front().map(|turn| turn.due);
        let next = [due, turn, self.phases.next_growth()].into_iter().flatten().min();
        next.map_or(TICK, |next| next.since(now).min(TICK))
    }

    /// Returns the measurement of the stage. Its requests that are in flight go on, and are in it as they are now.
    fn leave_stage(&mut self, now: Moment) -> Ran {
        let processor = processor_time();
        let mut records = std::mem::take(&mut self.records);
        let was_stopped = self.watch.is_to_end();
        let in_flight = self.slots.iter().filter_map(|slot| slot.record_so_far(now));
        records.extend(in_flight);
        records.sort_by_key(|record| record.number);
        for record in &mut records {
            record.rebase(self.origin);
        }
        let measured = self.begun.unwrap_or((Duration::ZERO, Moment(0)));
        let wall = now.since(measured.1).as_secs_f64();
        let busy = processor.saturating_sub(measured.0).as_secs_f64();
        let own = |moment: Moment| Moment::default().after(moment.since(self.origin));
        Ran {
            stage: self.stage,
            window: self.phases.window().map(|(from, to)| (own(from), own(to))),
            began_unix: self.clock.unix_seconds(self.origin),
            ended: own(now),
            was_stopped,
            data_ended: self.data_ended,
            client: ClientFacts {
                lag: std::mem::take(&mut self.lag),
                busy_share: if wall > 0.0 { busy / wall } else { 0.0 },
                stamped: self.stamped,
                unstamped: self.unstamped,
                clock_steps: self.clock.steps,
                reconnects: self.reconnects,
                waited_for_bodies: self.source.waited,
            },
            records,
        }
    }
}

/// The time before a stage in which nothing is sent.
struct Rest {
    stage: Stage,
    /// The length, from the moment at which nothing is in flight any more.
    time: Duration,
    /// The end, once it has begun.
    until: Option<Moment>,
}

/// A turn that follows an answer.
struct WaitingTurn {
    due: Moment,
    slot: usize,
    request: Prepared,
}

/// The answer to a stage that was handed over.
enum Next {
    Stage(Stage),
    None,
    Unknown,
}

/// Returns the schedule of an open loop; `None` for a closed one.
fn schedule_of(job: &Job, stage: &Stage, number: u64) -> Option<Schedule> {
    match stage.load {
        Load::Concurrency(_) | Load::Replay { .. } => None,
        Load::Rate {
            per_second, arrivals, ..
        } => Some(Schedule::new(
            per_second,
            arrivals,
            Random::new(job.seed.wrapping_add(number), ARRIVALS),
            stage.extent.ramp_s,
        )),
    }
}

/// Returns the processor time of this thread.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::effects::load::target::Target;
    use crate::measure::{Api, Drawn, Extent, Kept, Prompt, RequestSettings};

    /// A load on a port where nobody listens.
    fn job() -> Job {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Job {
            target: Target::plain(free.local_addr().unwrap()),
            settings: RequestSettings {
                api: Api::Generate,
                model: "m".to_owned(),
                ignores_end: true,
                temperature: 0.0,
                top_p: None,
                stop: Vec::new(),
                keeps: Kept::Nothing,
            },
            stage: Stage {
                load: Load::Concurrency(4),
                extent: Extent {
                    requests: u32::MAX,
                    least_s: 0,
                    most_s: None,
                    stall_s: 60,
                    warm_up: false,
                    ramp_s: 0,
                },
            },
            limits: None,
            think_time: Duration::ZERO,
            seed: 0,
        }
    }

    fn source(job: &Job) -> Source {
        let requests = std::iter::repeat_with(|| Drawn {
            prompt: Prompt::Ids(vec![1]),
            prompt_tokens: 1,
            output_tokens: 1,
            at: None,
            later: None,
        });
        Source::start(Box::new(requests), job.settings.clone(), String::new()).unwrap()
    }

    #[test]
    fn without_room_nothing_is_sent_until_the_next_stage_is_known() {
        let (job, watch) = (job(), Watch::default());
        let (ended, mut results) = tokio::sync::mpsc::unbounded_channel();
        let (give, next) = channel();
        std::thread::scope(|scope| {
            let run = || {
                let mut driver = Driver::new(&job, &watch, source(&job)).unwrap();
                driver.most_connections = 0;
                driver.run(&Handover { ended, next }).unwrap();
            };
            let run = scope.spawn(run);
            for stages in 1..=2 {
                let ran = results.blocking_recv().unwrap();
                assert!(ran.records[0].is_own_fault());
                std::thread::sleep(5 * TICK);
                assert_eq!(watch.failed.load(Ordering::Relaxed), stages);
                if stages == 1 {
                    let (stage, in_flight) = (job.stage, InFlight::TakeOver);
                    give.send(NextStage { stage, in_flight }).unwrap();
                }
            }
            drop(give);
            run.join().unwrap();
        });
    }

    #[test]
    fn a_stage_that_is_to_end_opens_no_connection() {
        let (job, watch) = (job(), Watch::default());
        let mut driver = Driver::new(&job, &watch, source(&job)).unwrap();
        assert!(driver.open_connections().is_err());
        watch.end_stage();
        driver.open_connections().unwrap();
        let (ended, mut results) = tokio::sync::mpsc::unbounded_channel();
        let (_, next) = channel();
        driver.run(&Handover { ended, next }).unwrap();
        assert!(results.try_recv().unwrap().was_stopped);
    }
}
