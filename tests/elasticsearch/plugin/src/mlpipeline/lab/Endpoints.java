package mlpipeline.lab;

import static org.elasticsearch.rest.RestRequest.Method.DELETE;
import static org.elasticsearch.rest.RestRequest.Method.GET;
import static org.elasticsearch.rest.RestRequest.Method.HEAD;
import static org.elasticsearch.rest.RestRequest.Method.POST;
import static org.elasticsearch.rest.RestRequest.Method.PUT;

import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;
import org.apache.lucene.util.Version;
import org.elasticsearch.Build;
import org.elasticsearch.ResourceNotFoundException;
import org.elasticsearch.action.ActionListener;
import org.elasticsearch.action.ActionRequest;
import org.elasticsearch.action.ActionType;
import org.elasticsearch.action.support.IndicesOptions;
import org.elasticsearch.action.support.master.AcknowledgedResponse;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.ClusterState;
import org.elasticsearch.cluster.metadata.IndexMetadata;
import org.elasticsearch.cluster.metadata.IndexNameExpressionResolver;
import org.elasticsearch.cluster.metadata.LifecycleExecutionState;
import org.elasticsearch.cluster.metadata.Metadata;
import org.elasticsearch.common.Strings;
import org.elasticsearch.common.bytes.BytesArray;
import org.elasticsearch.common.bytes.BytesReference;
import org.elasticsearch.common.regex.Regex;
import org.elasticsearch.core.CheckedFunction;
import org.elasticsearch.core.TimeValue;
import org.elasticsearch.index.Index;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestChannel;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.xcontent.NamedXContentRegistry;
import org.elasticsearch.xcontent.XContentBuilder;
import org.elasticsearch.xcontent.XContentParser;
import org.elasticsearch.xcontent.XContentParserConfiguration;
import org.elasticsearch.xcontent.XContentType;
import org.elasticsearch.xpack.core.ilm.*;
import org.elasticsearch.xpack.core.ilm.action.DeleteLifecycleAction;
import org.elasticsearch.xpack.core.ilm.action.ILMActions;
import org.elasticsearch.xpack.core.ilm.action.PutLifecycleRequest;

/** `GET /` and `_ilm/*`: the REST layer over {@link LifecycleRunner} and the policies in the cluster state. */
final class Endpoints {
    private static final Logger log = LogManager.getLogger(Endpoints.class);
    private static final TimeValue TIMEOUT = TimeValue.timeValueSeconds(30);
    private static final List<String> IGNORED = List.of(
        "master_timeout", "timeout", "index", "name", "expand_wildcards", "only_managed", "only_errors", "include_defaults"
    );

    private final LifecycleRunner runner;
    private final IndexNameExpressionResolver resolver;

    Endpoints(LifecycleRunner runner, IndexNameExpressionResolver resolver) {
        this.runner = runner;
        this.resolver = resolver;
    }

    @FunctionalInterface
    private interface Answer {
        void to(RestRequest request, RestChannel channel) throws Exception;
    }

    private static RestHandler.Route route(RestRequest.Method method, String path) {
        return new RestHandler.Route(method, path);
    }

    private static BaseRestHandler handler(String name, Answer answer, RestHandler.Route... routes) {
        return new BaseRestHandler() {
            @Override
            public String getName() {
                return "lab_" + name;
            }

            @Override
            public List<Route> routes() {
                return List.of(routes);
            }

            @Override
            protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
                IGNORED.forEach(request::param); // read, or Elasticsearch refuses them as unknown
                return channel -> {
                    try {
                        answer.to(request, channel);
                    } catch (Exception e) {
                        channel.sendResponse(new RestResponse(channel, e));
                    }
                };
            }
        };
    }

    List<RestHandler> handlers() {
        return List.of(
            handler("root", this::root, route(GET, "/"), route(HEAD, "/")),
            new PutPolicy(),
            handler("ilm_get", this::getPolicy, route(GET, "/_ilm/policy"), route(GET, "/_ilm/policy/{name}")),
            new DeletePolicy(),
            handler("ilm_explain", this::explain, route(GET, "/{index}/_ilm/explain")),
            handler("ilm_status", this::status, route(GET, "/_ilm/status")),
            handler("ilm_start", (r, channel) -> setMode(channel, OperationMode.RUNNING), route(POST, "/_ilm/start")),
            handler("ilm_stop", (r, channel) -> setMode(channel, OperationMode.STOPPED), route(POST, "/_ilm/stop"))
        );
    }

    private void root(RestRequest request, RestChannel channel) throws IOException {
        Build build = Build.current();
        XContentBuilder json = channel.newBuilder().prettyPrint().startObject();
        json.field("name", runner.cluster.getNodeName()).field("cluster_name", runner.cluster.getClusterName().value());
        json.field("cluster_uuid", runner.cluster.state().metadata().clusterUUID());
        json.startObject("version").field("number", build.qualifiedVersion()).field("build_flavor", build.flavor());
        json.field("build_type", build.type().displayName()).field("build_hash", build.hash()).field("build_date", build.date());
        json.field("build_snapshot", build.isSnapshot()).field("lucene_version", Version.LATEST.toString());
        json.field("minimum_wire_compatibility_version", build.minWireCompatVersion());
        json.field("minimum_index_compatibility_version", build.minIndexCompatVersion()).endObject();
        json.field("tagline", "You Know, for Search").endObject();
        channel.sendResponse(new RestResponse(RestStatus.OK, json));
    }

    /** Changes the cluster state and answers `acknowledged`, or with the error. */
    private void change(String what, RestChannel channel, CheckedFunction<ClusterState, ClusterState, Exception> change) {
        runner.submit(what, error -> refuse(what, channel, error), () -> channel.sendResponse(new RestResponse(RestStatus.OK, "application/json", "{\"acknowledged\":true}")), change);
    }

    private static void refuse(String what, RestChannel channel, Exception error) {
        try {
            channel.sendResponse(new RestResponse(channel, error));
        } catch (IOException e) {
            log.warn("answering " + what, e);
        }
    }

    private static ClusterState with(ClusterState state, Map<String, LifecyclePolicyMetadata> policies) {
        var lifecycle = new IndexLifecycleMetadata(policies, LifecycleOperationMetadata.currentILMMode(state));
        return ClusterState.builder(state).metadata(Metadata.builder(state.metadata()).putCustom(IndexLifecycleMetadata.TYPE, lifecycle)).build();
    }

    /** Apart from the others because it needs the request's body while that is alive. */
    private final class PutPolicy extends BaseRestHandler {
        @Override
        public String getName() {
            return "lab_ilm_put";
        }

        @Override
        public List<Route> routes() {
            return List.of(route(PUT, "/_ilm/policy/{name}"));
        }

        @Override
        protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) throws IOException {
            String name = request.param("name");
            request.param("master_timeout");
            request.param("timeout");
            LifecyclePolicy.validatePolicyName(name);
            PutLifecycleRequest asked;
            try (XContentParser parser = request.contentParser()) {
                asked = PutLifecycleRequest.parseRequest(new PutLifecycleRequest.Factory() {
                    @Override
                    public PutLifecycleRequest create(LifecyclePolicy parsed) {
                        return new PutLifecycleRequest(TIMEOUT, TIMEOUT, parsed);
                    }

                    @Override
                    public String getPolicyName() {
                        return name;
                    }
                }, parser);
            }
            LifecyclePolicy policy = asked.getPolicy();
            policy.validate();
            runner.steps(policy);
            return channel -> permitted(client, ILMActions.PUT, asked, channel, () -> change("put policy " + name, channel, state -> {
                SortedMap<String, LifecyclePolicyMetadata> policies = new TreeMap<>(LifecycleRunner.policies(state).getPolicyMetadatas());
                LifecyclePolicyMetadata old = policies.get(name);
                if (old != null && old.getPolicy().equals(policy)) return state;
                long version = old == null ? 1 : old.getVersion() + 1;
                policies.put(name, new LifecyclePolicyMetadata(policy, Map.of(), version, LifecycleRunner.now()));
                return with(state, policies);
            }));
        }
    }

    /** Does what is asked where the vendor's security allows this caller the vendor's action, and answers why not otherwise. */
    private static <R extends ActionRequest> void permitted(
        NodeClient client, ActionType<AcknowledgedResponse> action, R asked, RestChannel channel, Runnable what
    ) {
        client.execute(action, asked, ActionListener.wrap(allowed -> what.run(), error -> refuse(action.name(), channel, error)));
    }

    /** Apart from the others because it asks for a permission. */
    private final class DeletePolicy extends BaseRestHandler {
        @Override
        public String getName() {
            return "lab_ilm_delete";
        }

        @Override
        public List<Route> routes() {
            return List.of(route(DELETE, "/_ilm/policy/{name}"));
        }

        @Override
        protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
            IGNORED.forEach(request::param);
            String name = request.param("name");
            var asked = new DeleteLifecycleAction.Request(TIMEOUT, TIMEOUT, name);
            return channel -> permitted(client, DeleteLifecycleAction.INSTANCE, asked, channel, () -> deletePolicy(name, channel));
        }
    }

    private static List<String> users(ClusterState state, String policy) {
        return state.metadata().indices().values().stream().filter(index -> policy.equals(index.getLifecyclePolicyName()))
            .map(index -> index.getIndex().getName()).sorted().toList();
    }

    private static List<String> templates(ClusterState state, String policy) {
        // By resolved settings, as the vendor does: the name may come from a component template.
        return state.metadata().templatesV2().keySet().stream().filter(name -> policy.equals(
            org.elasticsearch.cluster.metadata.MetadataIndexTemplateService.resolveSettings(state.metadata(), name).get("index.lifecycle.name")
        )).sorted().toList();
    }

    private void getPolicy(RestRequest request, RestChannel channel) throws IOException {
        ClusterState state = runner.cluster.state();
        Map<String, LifecyclePolicyMetadata> policies = LifecycleRunner.policies(state).getPolicyMetadatas();
        String[] names = Strings.splitStringByCommaToArray(request.param("name", "*"));
        for (String name : names) {
            if (Regex.isSimpleMatchPattern(name) == false && policies.containsKey(name) == false) {
                throw new ResourceNotFoundException("Lifecycle policy not found: {}", name);
            }
        }
        XContentBuilder json = channel.newBuilder().startObject();
        for (LifecyclePolicyMetadata policy : policies.values()) {
            if (Regex.simpleMatch(names, policy.getName()) == false) continue;
            json.startObject(policy.getName()).field("version", policy.getVersion()).field("modified_date", policy.getModifiedDateString());
            json.field("policy", policy.getPolicy()).startObject("in_use_by").field("indices", users(state, policy.getName()));
            json.field("data_streams", List.of()).field("composable_templates", templates(state, policy.getName())).endObject().endObject();
        }
        channel.sendResponse(new RestResponse(RestStatus.OK, json.endObject()));
    }

    private void deletePolicy(String name, RestChannel channel) {
        change("delete policy " + name, channel, state -> {
            List<String> users = users(state, name);
            if (users.isEmpty() == false) {
                throw new IllegalArgumentException("Cannot delete policy [" + name + "]. It is in use by one or more indices: " + users);
            }
            Map<String, LifecyclePolicyMetadata> policies = new TreeMap<>(LifecycleRunner.policies(state).getPolicyMetadatas());
            if (policies.remove(name) == null) throw new ResourceNotFoundException("Lifecycle policy not found: {}", name);
            return with(state, policies);
        });
    }

    private void explain(RestRequest request, RestChannel channel) throws IOException {
        ClusterState state = runner.cluster.state();
        String[] names = Strings.splitStringByCommaToArray(request.param("index"));
        XContentBuilder json = channel.newBuilder().startObject().startObject("indices");
        for (Index index : resolver.concreteIndices(state, IndicesOptions.LENIENT_EXPAND_OPEN_CLOSED_HIDDEN, true, names)) {
            json.field(index.getName(), explanation(state.metadata().index(index)));
        }
        channel.sendResponse(new RestResponse(RestStatus.OK, json.endObject().endObject()));
    }

    private static IndexLifecycleExplainResponse explanation(IndexMetadata index) throws IOException {
        String name = index.getIndex().getName();
        String policy = index.getLifecyclePolicyName();
        if (Strings.hasText(policy) == false) return IndexLifecycleExplainResponse.newUnmanagedIndexResponse(name);
        LifecycleExecutionState at = index.getLifecycleExecutionState();
        PhaseExecutionInfo entered = null;
        if (at.phaseDefinition() != null) {
            var registry = XContentParserConfiguration.EMPTY.withRegistry(new NamedXContentRegistry(LabPlugin.NAMES));
            try (XContentParser parser = XContentType.JSON.xContent().createParser(registry, at.phaseDefinition())) {
                entered = PhaseExecutionInfo.parse(parser, at.phase());
            }
        }
        Long origin = at.phase() == null ? null : LifecycleRunner.origin(index);
        return IndexLifecycleExplainResponse.newManagedIndexResponse(
            name, index.getCreationDate(), policy, origin, at.phase(), at.action(), at.step(), at.failedStep(), at.isAutoRetryableError(),
            at.failedStepRetryCount(), at.phaseTime(), at.actionTime(), at.stepTime(), at.snapshotRepository(), at.snapshotName(),
            at.shrinkIndexName(), bytes(at.stepInfo()), bytes(at.previousStepInfo()), entered,
            LifecycleSettings.LIFECYCLE_SKIP_SETTING.get(index.getSettings())
        );
    }

    private static BytesReference bytes(String text) {
        return text == null ? null : new BytesArray(text);
    }

    private void status(RestRequest request, RestChannel channel) throws IOException {
        OperationMode mode = LifecycleOperationMetadata.currentILMMode(runner.cluster.state());
        channel.sendResponse(new RestResponse(RestStatus.OK, channel.newBuilder().startObject().field("operation_mode", mode).endObject()));
    }

    private void setMode(RestChannel channel, OperationMode mode) {
        change("mode " + mode, channel, state -> {
            var modes = new LifecycleOperationMetadata(mode, LifecycleOperationMetadata.currentSLMMode(state));
            return ClusterState.builder(state).metadata(Metadata.builder(state.metadata()).putCustom(LifecycleOperationMetadata.TYPE, modes)).build();
        });
    }
}
