package mlpipeline.lab;

import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;

import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;
import org.elasticsearch.ElasticsearchException;
import org.elasticsearch.action.ActionListener;
import org.elasticsearch.client.internal.Client;
import org.elasticsearch.cluster.ClusterState;
import org.elasticsearch.cluster.ClusterStateObserver;
import org.elasticsearch.cluster.ClusterStateUpdateTask;
import org.elasticsearch.cluster.metadata.IndexMetadata;
import org.elasticsearch.cluster.metadata.LifecycleExecutionState;
import org.elasticsearch.cluster.metadata.Metadata;
import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.common.Strings;
import org.elasticsearch.common.component.Lifecycle;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.core.CheckedFunction;
import org.elasticsearch.core.TimeValue;
import org.elasticsearch.index.Index;
import org.elasticsearch.index.IndexSettings;
import org.elasticsearch.threadpool.Scheduler;
import org.elasticsearch.threadpool.ThreadPool;
import org.elasticsearch.xcontent.ToXContentObject;
import org.elasticsearch.xcontent.XContentBuilder;
import org.elasticsearch.xcontent.XContentFactory;
import org.elasticsearch.xpack.core.XPackPlugin;
import org.elasticsearch.xpack.core.ilm.*;

/**
 * Walks every managed index through x-pack-core's steps, by polling alone.
 *
 * Simpler than the vendor's: a changed policy applies at once (no cached phase), there is no history index, and a step
 * that waits is looked at again at the next poll only.
 */
final class LifecycleRunner {
    private static final Logger log = LogManager.getLogger(LifecycleRunner.class);
    private static final TimeValue STEP_TIMEOUT = TimeValue.timeValueSeconds(30);
    private static final int MOST_MOVES_A_POLL = 100;

    final ClusterService cluster;
    private final ThreadPool threads;
    private final Client client;
    /** Indices that are being moved: a poll leaves them alone. */
    private final Set<Index> busy = ConcurrentHashMap.newKeySet();
    private Scheduler.Cancellable job;
    private volatile boolean stopped;

    LifecycleRunner(ClusterService cluster, ThreadPool threads, Client client) {
        this.cluster = cluster;
        this.threads = threads;
        this.client = client;
    }

    void start(Settings node) {
        cluster.getClusterSettings().addSettingsUpdateConsumer(LifecycleSettings.LIFECYCLE_POLL_INTERVAL_SETTING, this::pollEvery);
        pollEvery(LifecycleSettings.LIFECYCLE_POLL_INTERVAL_SETTING.get(node));
    }

    synchronized void stop() {
        stopped = true;
        if (job != null) job.cancel();
    }

    private synchronized void pollEvery(TimeValue interval) {
        if (job != null) job.cancel();
        if (stopped == false) job = threads.scheduleWithFixedDelay(this::poll, interval, threads.generic());
    }

    static IndexLifecycleMetadata policies(ClusterState state) {
        return state.metadata().custom(IndexLifecycleMetadata.TYPE, IndexLifecycleMetadata.EMPTY);
    }

    static long now() {
        return System.currentTimeMillis();
    }

    /** The instant that an index's age counts from, in milliseconds of the epoch. */
    static long origin(IndexMetadata index) {
        long named = index.getSettings().getAsLong(IndexSettings.LIFECYCLE_ORIGINATION_DATE, -1L);
        if (named >= 0) return named;
        Long since = index.getLifecycleExecutionState().lifecycleDate();
        return since != null ? since : index.getCreationDate();
    }

    Map<Step.StepKey, Step> steps(LifecyclePolicy policy) {
        // Built afresh each time: a branching step remembers the branch that one index took.
        Map<Step.StepKey, Step> steps = new LinkedHashMap<>();
        for (Step step : policy.toSteps(client, XPackPlugin.getSharedLicenseState())) steps.put(step.getKey(), step);
        return steps;
    }

    private void poll() {
        try {
            if (cluster.lifecycleState() != Lifecycle.State.STARTED) return;
            ClusterState state = cluster.state();
            OperationMode mode = LifecycleOperationMetadata.currentILMMode(state);
            if (state.nodes().isLocalNodeElectedMaster() == false || mode == OperationMode.STOPPED) return;
            for (IndexMetadata index : state.metadata().indices().values()) {
                boolean managed = Strings.hasText(index.getLifecyclePolicyName())
                    && LifecycleSettings.LIFECYCLE_SKIP_SETTING.get(index.getSettings()) == false;
                if (managed && busy.add(index.getIndex())) advance(index.getIndex(), 0);
            }
        } catch (Exception e) {
            log.warn("lifecycle poll failed", e);
        }
    }

    private void release(Index index) {
        busy.remove(index);
    }

    /** Takes the step that `index` stands on; `moves` were made since the poll. */
    private void advance(Index index, int moves) {
        try {
            ClusterState state = cluster.state();
            IndexMetadata metadata = state.metadata().index(index);
            if (metadata == null || stopped || moves > MOST_MOVES_A_POLL) {
                release(index);
                return;
            }
            LifecyclePolicyMetadata policy = policies(state).getPolicyMetadatas().get(metadata.getLifecyclePolicyName());
            if (policy == null) {
                note(index, "{\"reason\":\"policy [" + metadata.getLifecyclePolicyName() + "] does not exist\"}");
                return;
            }
            Map<Step.StepKey, Step> steps = steps(policy.getPolicy());
            LifecycleExecutionState at = metadata.getLifecycleExecutionState();
            Step.StepKey key = Step.getCurrentStepKey(at);
            if (key == null) {
                move(index, steps.keySet().iterator().next(), policy, moves);
            } else if (ErrorStep.NAME.equals(key.name())) {
                if (moves > 0) release(index);
                else retry(index, at);
            } else if (steps.containsKey(key) == false) {
                // The policy changed under this index: it goes on from the end of its phase.
                Step.StepKey end = PhaseCompleteStep.stepKey(key.phase());
                if (steps.containsKey(end)) move(index, end, policy, moves);
                else release(index);
            } else {
                take(steps.get(key), index, metadata, state, policy, steps, moves);
            }
        } catch (Exception e) {
            log.warn("lifecycle of " + index + " failed", e);
            release(index);
        }
    }

    private void take(
        Step step,
        Index index,
        IndexMetadata metadata,
        ClusterState state,
        LifecyclePolicyMetadata policy,
        Map<Step.StepKey, Step> steps,
        int moves
    ) {
        Step.StepKey key = step.getKey();
        // Where each goes next is asked late: a branching step knows it only after it was performed.
        if (step instanceof TerminalPolicyStep) {
            release(index);
        } else if (step instanceof WaitForNoFollowersStep) {
            move(index, step.getNextStepKey(), policy, moves); // it asks the replication module, which this node lacks: nothing follows
        } else if (step instanceof PhaseCompleteStep) {
            Step.StepKey next = step.getNextStepKey();
            Phase phase = next == null ? null : policy.getPolicy().getPhases().get(next.phase());
            long age = phase == null ? 0 : phase.getMinimumAge().millis();
            if (next != null && steps.containsKey(next) && now() - origin(metadata) >= age) move(index, next, policy, moves);
            else release(index);
        } else if (step instanceof ClusterStateActionStep action) {
            submit(key + " of " + index, e -> fail(index, key, e), () -> move(index, action.getNextStepKey(), policy, moves),
                current -> current.metadata().index(index) == null ? current : action.performAction(index, current));
        } else if (step instanceof ClusterStateWaitStep wait) {
            ClusterStateWaitStep.Result result = wait.isConditionMet(index, state);
            if (result.complete()) move(index, wait.getNextStepKey(), policy, moves);
            else note(index, result.informationContext() == null ? null : Strings.toString(result.informationContext()));
        } else if (step instanceof AsyncWaitStep wait) {
            wait.evaluateCondition(state.metadata(), metadata, new AsyncWaitStep.Listener() {
                @Override
                public void onResponse(boolean met, ToXContentObject information) {
                    if (met) move(index, wait.getNextStepKey(), policy, moves);
                    else note(index, information == null ? null : Strings.toString(information));
                }

                @Override
                public void onFailure(Exception e) {
                    fail(index, key, e);
                }
            }, STEP_TIMEOUT);
        } else if (step instanceof AsyncActionStep action) {
            log.info("{} {}", index.getName(), key);
            var observer = new ClusterStateObserver(cluster, STEP_TIMEOUT, log, threads.getThreadContext());
            action.performAction(metadata, state, observer, ActionListener.wrap(nothing -> {
                if (action.indexSurvives()) move(index, action.getNextStepKey(), policy, moves);
                else release(index);
            }, e -> fail(index, key, e)));
        } else {
            move(index, step.getNextStepKey(), policy, moves);
        }
    }

    private void move(Index index, Step.StepKey next, LifecyclePolicyMetadata policy, int moves) {
        if (next == null) {
            release(index);
            return;
        }
        update("move to " + next, index, (before, builder) -> {
            boolean newPhase = next.phase().equals(before.phase()) == false;
            builder.setPhase(next.phase()).setAction(next.action()).setStep(next.name()).setStepTime(now());
            builder.setPreviousStepInfo(before.stepInfo()).setStepInfo(null);
            builder.setFailedStep(null).setIsAutoRetryableError(null).setFailedStepRetryCount(null);
            if (newPhase || next.action().equals(before.action()) == false) builder.setActionTime(now());
            if (newPhase) {
                Phase phase = policy.getPolicy().getPhases().get(next.phase());
                var entered = new PhaseExecutionInfo(policy.getName(), phase, policy.getVersion(), policy.getModifiedDate());
                builder.setPhaseTime(now()).setPhaseDefinition(Strings.toString(entered));
            }
        }, () -> threads.generic().execute(() -> advance(index, moves + 1)));
    }

    private void retry(Index index, LifecycleExecutionState failed) {
        int tries = failed.failedStepRetryCount() == null ? 1 : failed.failedStepRetryCount() + 1;
        update("retry", index, (before, builder) ->
            builder.setStep(failed.failedStep()).setFailedStep(null).setFailedStepRetryCount(tries).setStepTime(now()),
            () -> threads.generic().execute(() -> advance(index, 1)));
    }

    private void fail(Index index, Step.StepKey key, Exception error) {
        log.warn("lifecycle step " + key + " failed for " + index, error);
        update("error", index, (before, builder) ->
            builder.setStep(ErrorStep.NAME).setFailedStep(key.name()).setIsAutoRetryableError(true).setStepInfo(describe(error)).setStepTime(now()),
            () -> release(index));
    }

    private static String describe(Exception error) {
        try (XContentBuilder json = XContentFactory.jsonBuilder()) {
            String type = ElasticsearchException.getExceptionName(error);
            return Strings.toString(json.startObject().field("type", type).field("reason", error.getMessage()).endObject());
        } catch (IOException e) {
            throw new AssertionError("writing to memory", e);
        }
    }

    /** Records what a step waits for, if that changed, and leaves the index until the next poll. */
    private void note(Index index, String information) {
        IndexMetadata metadata = cluster.state().metadata().index(index);
        if (metadata == null || information == null || information.equals(metadata.getLifecycleExecutionState().stepInfo())) release(index);
        else update("information", index, (before, builder) -> builder.setStepInfo(information), () -> release(index));
    }

    @FunctionalInterface
    private interface Change {
        void to(LifecycleExecutionState before, LifecycleExecutionState.Builder builder);
    }

    private void update(String what, Index index, Change change, Runnable then) {
        submit(what + " of " + index, e -> {
            log.warn("lifecycle " + what + " of " + index + " failed", e);
            release(index);
        }, then, current -> {
            IndexMetadata metadata = current.metadata().index(index);
            if (metadata == null) return current;
            LifecycleExecutionState before = metadata.getLifecycleExecutionState();
            LifecycleExecutionState.Builder builder = LifecycleExecutionState.builder(before);
            change.to(before, builder);
            return LifecycleExecutionStateUtils.newClusterStateWithLifecycleState(current, index, builder.build());
        });
    }

    /** Changes the cluster state by `change`, then calls `done`, or `failed` with what went wrong. */
    void submit(String what, Consumer<Exception> failed, Runnable done, CheckedFunction<ClusterState, ClusterState, Exception> change) {
        cluster.submitUnbatchedStateUpdateTask("lab-ilm " + what, new ClusterStateUpdateTask() {
            @Override
            public ClusterState execute(ClusterState current) throws Exception {
                return change.apply(current);
            }

            @Override
            public void onFailure(Exception e) {
                failed.accept(e);
            }

            @Override
            public void clusterStateProcessed(ClusterState before, ClusterState after) {
                done.run();
            }
        });
    }
}
