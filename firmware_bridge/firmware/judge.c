#include "judge.h"

#include <string.h>

bool edge_rules_ok(const edge_rules *r)
{
    const bool separate = r->release == 0; /* each frame that is not normal is an event of its own */
    return r->k >= 1 && r->k <= r->n && r->n <= EDGE_MOST_FRAMES && r->hysteresis >= 1 &&
           r->hysteresis <= EDGE_ONE && r->update_interval >= 1 && r->min_frames >= 1 &&
           (!separate || (r->n == 1 && r->min_frames == 1 && r->cooldown == 0));
}

/* The largest integer at or below lower - (1 - hysteresis) * |lower|. */
static int32_t release_level(const edge_rules *r, int32_t lower)
{
    const int64_t size = lower < 0 ? -(int64_t)lower : lower;
    const int64_t down = (size * (int64_t)(EDGE_ONE - r->hysteresis) + EDGE_ONE - 1) / EDGE_ONE;
    const int64_t level = lower - down;
    return level < INT32_MIN ? INT32_MIN : (int32_t)level;
}

void edge_judge_by(edge_judge *j, const edge_levels *levels)
{
    j->levels = *levels;
    j->release_level = release_level(&j->rules, levels->lower);
}

void edge_judge_start(edge_judge *j, const edge_rules *rules, const edge_levels *levels)
{
    memset(j, 0, sizeof *j);
    j->rules = *rules;
    edge_judge_by(j, levels);
}

edge_verdict edge_judge_verdict(const edge_judge *j, int32_t score)
{
    return score > j->levels.upper ? EDGE_ANOMALOUS : score > j->levels.lower ? EDGE_UNCERTAIN : EDGE_NORMAL;
}

bool edge_judge_is_peak(const edge_judge *j, int32_t score)
{
    return score > j->levels.lower && (j->event == EDGE_NORMAL || score > j->peak);
}

static uint32_t ones(uint32_t bits)
{
    uint32_t count = 0;
    for (; bits; bits &= bits - 1)
        count++;
    return count;
}

/* What the last n frames make of an event; EDGE_NORMAL when too few of them are not normal. */
static edge_verdict judged(const edge_judge *j)
{
    if (ones(j->anomalous) >= j->rules.k)
        return EDGE_ANOMALOUS;
    return ones(j->anomalous | j->uncertain) >= j->rules.k ? EDGE_UNCERTAIN : EDGE_NORMAL;
}

static void forget(edge_judge *j) { j->anomalous = j->uncertain = 0; }

static void remember(edge_judge *j, edge_verdict verdict)
{
    const uint32_t kept = j->rules.n == 32 ? 0xFFFFFFFFu : (1u << j->rules.n) - 1;
    j->anomalous = (j->anomalous << 1 | (verdict == EDGE_ANOMALOUS)) & kept;
    j->uncertain = (j->uncertain << 1 | (verdict == EDGE_UNCERTAIN)) & kept;
}

static void tell(edge_judge *j, edge_kind kind, edge_change *change)
{
    *change = (edge_change){.number = j->number, .kind = (uint8_t)kind, .verdict = j->event};
}

static void tell_new(edge_judge *j, edge_change *change)
{
    j->told = true;
    j->number++;
    j->reported_peak = j->peak;
    j->since_record = 0;
    tell(j, EDGE_NEW, change);
}

static uint32_t end(edge_judge *j, edge_change *change)
{
    const bool told = j->told;
    if (told)
        tell(j, EDGE_END, change);
    j->told = false;
    j->event = EDGE_NORMAL;
    forget(j); /* frames of an event that is over cannot begin the next one */
    if (told)
        j->cooling = j->rules.cooldown;
    else
        j->brief++;
    return told;
}

static uint32_t begin(edge_judge *j, int32_t score, edge_change changes[2])
{
    const edge_verdict verdict = judged(j);
    uint32_t count = 0;
    if (verdict == EDGE_NORMAL)
        return 0;
    j->event = (uint8_t)verdict;
    j->peak = score;
    j->quiet = 0;
    j->lasted = 1;
    if (j->rules.min_frames == 1)
        tell_new(j, &changes[count++]);
    if (j->rules.release == 0)
        count += end(j, &changes[count]);
    return count;
}

static bool has_risen(const edge_judge *j)
{
    const int64_t grown = (int64_t)j->peak - j->reported_peak, height = (int64_t)j->reported_peak - j->levels.lower;
    return grown * (int64_t)EDGE_ONE > height * (int64_t)j->rules.rise;
}

static uint32_t go_on(edge_judge *j, int32_t score, edge_change *change)
{
    if (score > j->peak)
        j->peak = score;
    j->quiet = score <= j->release_level ? j->quiet + 1 : 0;
    j->lasted++;
    j->since_record++;
    const bool hardened = j->event == EDGE_UNCERTAIN && judged(j) == EDGE_ANOMALOUS;
    if (hardened)
        j->event = EDGE_ANOMALOUS;
    if (j->quiet >= j->rules.release)
        return end(j, change);
    if (!j->told) {
        if (j->lasted < j->rules.min_frames)
            return 0;
        tell_new(j, change);
        return 1;
    }
    if (!hardened && j->since_record < j->rules.update_interval && !has_risen(j))
        return 0;
    j->since_record = 0;
    j->reported_peak = j->peak;
    tell(j, EDGE_UPDATE, change);
    return 1;
}

uint32_t edge_judge_step(edge_judge *j, int32_t score, edge_change changes[2])
{
    const edge_verdict verdict = edge_judge_verdict(j, score);
    remember(j, verdict);
    if (j->event != EDGE_NORMAL)
        return go_on(j, score, changes);
    if (j->cooling) {
        j->suppressed += judged(j) != EDGE_NORMAL;
        if (--j->cooling == 0)
            forget(j);
        return 0;
    }
    return verdict == EDGE_NORMAL ? 0 : begin(j, score, changes);
}

void edge_judge_gap(edge_judge *j) { forget(j); }

uint32_t edge_judge_close(edge_judge *j, edge_change changes[2])
{
    return j->event == EDGE_NORMAL ? 0 : end(j, changes);
}
