#include "train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/stop.h"
#include "train/run.h"

/* Sums since the last record. */
typedef struct tally {
    int64_t steps, start_ns, wait_ns;
    ec_step_result sum;
} tally;

static ec_status plan_length(ec_run *run) {
    const ec_config_training *t = &run->config->training;
    run->steps_per_epoch = t->steps_per_epoch ? t->steps_per_epoch : ec__sampler_steps_per_epoch(run->sampler);
    int64_t most = ec__sampler_steps(run->sampler);
    run->total_steps = t->max_steps;
    if (!t->max_steps && __builtin_mul_overflow(t->max_epochs, run->steps_per_epoch, &run->total_steps))
        run->total_steps = most;
    if (t->max_steps > most) return EC_ERROR(EC_ERR_CONFIG, "training.max_steps is %lld; %s has batches for %lld steps",
                                             (long long)t->max_steps, t->indices, (long long)most);
    if (run->total_steps > most) run->total_steps = most;
    return EC_OK;
}

static ec_status open_data(ec_run *run) {
    EC_RETURN_IF(ec__config_check_ranks(run->config, run->comm->size));
    EC_RETURN_IF(ec__run_open_data(run));
    return plan_length(run);
}

static ec_status open_model(ec_run *run) {
    EC_RETURN_IF(ec__run_open_model(run));
    EC_RETURN_IF(ec__run_open_batches(run));
    EC_RETURN_IF(ec__snapshots_open(run, &run->snapshots));
    return ec__validator_new(run, &run->validator);
}

/* A GPU leaves the threads of the host free. A CPU computes with all of them, and slowly. */
static int32_t loader_threads(const ec_run *run) {
    return run->be->native_queue(run->be) ? ec__loader_threads(ec__pool_threads(run->be->pool)) : 1;
}

static ec_status open_loader(ec_run *run) {
    const ec_loader_config config = {
        .global_rows = run->config->training.batch_size,
        .rank = run->comm->rank,
        .size = run->comm->size,
        .seed = (uint64_t)run->config->training.seed,
        .first_step = run->first_step,
        .end_step = run->total_steps,
        .be = run->be,
        .in_use = run->turns,
        .threads = loader_threads(run),
        .half = ec__run_uploads_half(run),
    };
    return ec__loader_open(&config, run->sampler, run->source, &run->loader);
}

static void close_run(ec_run *run) {
    ec__loader_close(run->loader);
    ec__validator_free(run->validator);
    ec__run_close_batches(run);
    ec__run_close_model(run);
    ec__run_close_data(run);
}

static int64_t trained_scalars(const ec_param_set *params) {
    int64_t sum = 0;
    for (int32_t i = 0; i < params->count; i++) sum += params->items[i].count;
    return sum;
}

static void tell_start(const ec_run *run, const ec_train_observer *observer, const char *from) {
    if (run->comm->rank != 0 || !observer->started) return;
    const ec_train_start start = {
        .first_step = run->first_step,
        .total_steps = run->total_steps,
        .steps_per_epoch = run->steps_per_epoch,
        .parameters = trained_scalars(&run->heads->params),
        .images = run->train.count[EC_IMAGE],
        .tracks = run->train.count[EC_MUSIC],
        .classes = ec__cache_info(run->cache[EC_IMAGE])->class_count,
        .bytes = ec__trainer_core_bytes(run->core),
        .resumed_from = from,
    };
    observer->started(observer->arg, &start);
}

static void tally_restart(tally *t, const ec_run *run) {
    *t = (tally){.start_ns = ec__now_ns(), .wait_ns = ec__loader_wait_ns(run->loader)};
}

static void tally_add(tally *t, const ec_step_result *r) {
    t->steps++;
    for (int d = 0; d < EC_DIRECTIONS; d++) t->sum.losses[d] += r->losses[d];
    t->sum.total += r->total;
    t->sum.grad_norm += r->grad_norm;
    t->sum.learning_rate = r->learning_rate;
}

/* Tells the means and starts anew. */
static void tell_step(tally *t, const ec_run *run, const ec_train_observer *observer, int64_t step) {
    if (t->steps > 0 && run->comm->rank == 0 && observer->stepped) {
        double n = (double)t->steps, seconds = ec__seconds_since(t->start_ns);
        ec_train_record record = {.step = step, .epoch = (double)step / (double)run->steps_per_epoch, .result = t->sum};
        for (int d = 0; d < EC_DIRECTIONS; d++) record.result.losses[d] /= n;
        record.result.total /= n;
        record.result.grad_norm /= n;
        record.step_ms = seconds * 1e3 / n;
        record.wait_ms = (double)(ec__loader_wait_ns(run->loader) - t->wait_ns) * 1e-6 / n;
        record.samples_per_s = (double)run->config->training.batch_size * n / seconds;
        observer->stepped(observer->arg, &record);
    }
    tally_restart(t, run);
}

/* What ranks tell each other after every step: bits. */
enum { ASKED_TO_STOP = 1, SAVING_FAILED = 2, FOUND_DAMAGE = 4 };

/* Has any rank been asked to stop? All ranks get the same answer, and the same error where a checkpoint was not saved,
 * or where their copies of a cache are not damaged alike: before anything that was trained on these is saved. */
static ec_status look_around(ec_run *run, bool *stop) {
    int32_t mine = (ec__stop_requested() ? ASKED_TO_STOP : 0) |
                   (ec__snapshots_failed(run->snapshots) ? SAVING_FAILED : 0) |
                   (ec__run_damage_is_new(run) ? FOUND_DAMAGE : 0);
    int32_t any = mine;
    const void *all;
    if (run->comm->size > 1) {
        EC_RETURN_IF(ec__comm_all_gather_view(run->comm->host, &mine, &all, sizeof mine));
        for (int32_t r = 0; r < run->comm->size; r++) any |= ((const int32_t *)all)[r];
    }
    *stop = any & ASKED_TO_STOP;
    if (any & FOUND_DAMAGE) EC_RETURN_IF(ec__run_agree_on_damage(run));
    if (any & SAVING_FAILED) return ec__comm_agree(run->comm, ec__snapshots_check(run->snapshots));
    return EC_OK;
}

static ec_status save(ec_run *run, const ec_train_observer *observer, int64_t step, bool best) {
    const char *path;
    ec__comm_set_context(run->comm, step, "saving a checkpoint");
    EC_RETURN_IF(ec__snapshots_save(run->snapshots, run, step, best, &path));
    if (run->comm->rank == 0 && observer->saved) observer->saved(observer->arg, step, path);
    return EC_OK;
}

static ec_status validate(ec_run *run, const ec_train_observer *observer, int64_t step, bool *best) {
    ec_validation_record record = {.step = step, .epoch = (double)step / (double)run->steps_per_epoch};
    ec__comm_set_context(run->comm, step, "validating");
    EC_RETURN_IF(ec__validate(run->validator, run, &record));
    run->validation_due = false;
    if (run->comm->rank == 0 && observer->validated) observer->validated(observer->arg, &record);
    *best = record.best && run->config->checkpoint.best;
    return EC_OK;
}

/* What the stop of an earlier run put off; the checkpoint is written anew, as it would have been then. */
static ec_status catch_up(ec_run *run, const ec_train_observer *observer) {
    bool best = false;
    if (!run->validation_due || !run->validator) return EC_OK;
    EC_RETURN_IF(validate(run, observer, run->first_step, &best));
    return save(run, observer, run->first_step, best);
}

/* What is due after `step` steps. */
static bool validation_is_due(const ec_run *run, int64_t step) {
    const bool epoch_end = step % run->steps_per_epoch == 0;
    const int64_t epoch = step / run->steps_per_epoch, every = run->config->training.validate_every;
    return run->validator && (step == run->total_steps || (epoch_end && epoch % every == 0));
}

static bool checkpoint_is_due(const ec_run *run, int64_t step) {
    const ec_config_checkpoint *c = &run->config->checkpoint;
    const bool epoch_end = step % run->steps_per_epoch == 0;
    const int64_t epoch = step / run->steps_per_epoch;
    return step == run->total_steps || (c->every_steps && step % c->every_steps == 0) ||
           (c->every_epochs && epoch_end && epoch % c->every_epochs == 0);
}

/* Validation, then a checkpoint. Who asks for a stop may not leave the time to validate: the run that goes on does
 * it. */
static ec_status after_step(ec_run *run, const ec_train_observer *observer, int64_t step, bool stopping) {
    bool best = run->config->checkpoint.best && step == run->total_steps && !run->validator;
    run->validation_due = validation_is_due(run, step);
    if (run->validation_due && !stopping) EC_RETURN_IF(validate(run, observer, step, &best));
    return stopping || best || checkpoint_is_due(run, step) ? save(run, observer, step, best) : EC_OK;
}

/* Steps between two places at which nothing is under way. */
typedef struct progress {
    ec_run *run;
    const ec_train_observer *observer;
    int64_t started, finished; /* steps made since the run's beginning, the one before it included */
    tally tally;
} progress;

/* Waits for the results of all steps but the last `but` that were started. */
static ec_status finish_steps(progress *p, int32_t but) {
    ec_run *run = p->run;
    while (p->finished < p->started - but) {
        ec_step_result result;
        ec__comm_set_context(run->comm, p->finished, "computing");
        EC_RETURN_IF(ec__train_step_finish(run->core, p->finished, &result));
        const int64_t step = ++p->finished;
        tally_add(&p->tally, &result);
        if (step % run->config->logging.every == 0 || step % run->steps_per_epoch == 0 || step == run->total_steps)
            tell_step(&p->tally, run, p->observer, step);
    }
    return EC_OK;
}

/* What goes wrong on the way into a step (a row that cannot be read) comes after the step before it: that one's result,
 * or error, is heard first, unless ranks have lost each other. */
static ec_status start_step(progress *p) {
    const ec_status status = ec__run_start_step(p->run, p->started);
    if (status == EC_OK) p->started++;
    if (status == EC_OK || status == EC_ERR_DIST) return status;
    const ec_error error = *ec_error_last();
    EC_RETURN_IF(finish_steps(p, 0));
    return ec__error_adopt(&error);
}

/* A step is started before the result of the one before it is looked at, unless something is to be done in between. */
static ec_status run_steps(ec_run *run, const ec_train_observer *observer) {
    ec_status status = EC_OK;
    bool stop = false;
    progress p = {.run = run, .observer = observer, .started = run->first_step, .finished = run->first_step};
    tally_restart(&p.tally, run);
    while (p.finished < run->total_steps && !stop) {
        EC_TRY(start_step(&p));
        const bool pause = validation_is_due(run, p.started) || checkpoint_is_due(run, p.started);
        EC_TRY(finish_steps(&p, pause ? 0 : run->turns - 1));
        EC_TRY(look_around(run, &stop));
        stop = stop && p.started < run->total_steps;
        if (stop) {
            EC_TRY(finish_steps(&p, 0));
            if (p.tally.steps > 0) tell_step(&p.tally, run, observer, p.finished);
        }
        if (p.finished == p.started) EC_TRY(after_step(run, observer, p.finished, stop));
        if (p.finished % run->steps_per_epoch == 0)
            tally_restart(&p.tally, run); /* validation is no part of a step's time */
    }
    if (stop) EC_FAIL(EC_STOPPED, "stopped by a signal, a checkpoint is written; go on with --resume auto");
done:
    return status;
}

ec_status ec__train_run(const ec_config *config, ec_backend *be, ec_comm *comm, const ec_train_options *options,
                        const ec_train_observer *observer) {
    ec_status status = EC_OK, closing;
    ec_error first;
    ec_run run = {.config = config, .be = be, .comm = comm, .best = NAN};
    const char *from = NULL;
    ec__comm_set_context(comm, -1, "opening caches and model");
    EC_TRY(ec__comm_agree(comm, open_data(&run)));
    EC_TRY(ec__run_drop_corrupt(&run));
    EC_TRY(ec__run_agree_on_damage(&run));
    EC_TRY(ec__comm_agree(comm, open_model(&run)));
    ec__comm_set_context(comm, -1, "preparing the first step");
    EC_TRY(ec__snapshots_resume(run.snapshots, &run, options->resume, &from));
    tell_start(&run, observer, from);
    EC_TRY(catch_up(&run, observer));
    if (run.first_step >= run.total_steps) {
        if (comm->rank == 0)
            EC_INFO("nothing to do: %lld of %lld steps are made", (long long)run.first_step,
                    (long long)run.total_steps);
        goto done;
    }
    EC_TRY(ec__comm_agree(comm, open_loader(&run)));
    EC_TRY(run_steps(&run, observer));
done:
    /* The last checkpoint is on its way to the disk: whether it arrived is part of the result, but not in place of the
     * error that ended the run. */
    first = *ec_error_last();
    ec__comm_set_context(comm, -1, "waiting for the last checkpoint to be on disk");
    closing = ec__snapshots_close(run.snapshots);
    if (status == EC_OK || status == EC_STOPPED) {
        closing = ec__comm_agree(comm, closing);
        if (closing != EC_OK) status = closing;
    } else {
        ec__error_adopt(&first);
    }
    close_run(&run);
    return status;
}
