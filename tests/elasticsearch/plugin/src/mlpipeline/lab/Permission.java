package mlpipeline.lab;

import org.elasticsearch.action.ActionListener;
import org.elasticsearch.action.ActionRequest;
import org.elasticsearch.action.support.ActionFilters;
import org.elasticsearch.action.support.TransportAction;
import org.elasticsearch.action.support.master.AcknowledgedResponse;
import org.elasticsearch.common.util.concurrent.EsExecutors;
import org.elasticsearch.injection.guice.Inject;
import org.elasticsearch.tasks.Task;
import org.elasticsearch.tasks.TaskManager;
import org.elasticsearch.transport.TransportService;
import org.elasticsearch.xpack.core.ilm.action.DeleteLifecycleAction;
import org.elasticsearch.xpack.core.ilm.action.ILMActions;
import org.elasticsearch.xpack.core.ilm.action.PutLifecycleRequest;

/**
 * Actions under the vendor's names that do nothing themselves: executing one asks the vendor's security, which is an
 * action filter, whether the caller may. What is allowed is done by {@link Endpoints} afterwards.
 */
public abstract class Permission<R extends ActionRequest> extends TransportAction<R, AcknowledgedResponse> {
    private Permission(String name, ActionFilters filters, TaskManager tasks) {
        super(name, filters, tasks, EsExecutors.DIRECT_EXECUTOR_SERVICE);
    }

    @Override
    protected void doExecute(Task task, R request, ActionListener<AcknowledgedResponse> listener) {
        listener.onResponse(AcknowledgedResponse.TRUE);
    }

    public static final class Put extends Permission<PutLifecycleRequest> {
        @Inject
        public Put(ActionFilters filters, TransportService transport) {
            super(ILMActions.PUT.name(), filters, transport.getTaskManager());
        }
    }

    public static final class Delete extends Permission<DeleteLifecycleAction.Request> {
        @Inject
        public Delete(ActionFilters filters, TransportService transport) {
            super(DeleteLifecycleAction.NAME, filters, transport.getTaskManager());
        }
    }
}
