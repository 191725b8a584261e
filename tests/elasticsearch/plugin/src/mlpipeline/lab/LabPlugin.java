package mlpipeline.lab;

import java.io.IOException;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import java.util.function.Supplier;

import org.elasticsearch.action.ActionRequest;
import org.elasticsearch.action.ActionResponse;
import org.elasticsearch.cluster.metadata.IndexNameExpressionResolver;
import org.elasticsearch.cluster.metadata.Metadata;
import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.common.io.stream.NamedWriteableRegistry;
import org.elasticsearch.common.settings.ClusterSettings;
import org.elasticsearch.common.settings.IndexScopedSettings;
import org.elasticsearch.common.settings.Setting;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.settings.SettingsFilter;
import org.elasticsearch.core.CheckedFunction;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.index.Index;
import org.elasticsearch.index.IndexModule;
import org.elasticsearch.index.analysis.TokenFilterFactory;
import org.elasticsearch.index.analysis.TokenizerFactory;
import org.elasticsearch.index.shard.IndexEventListener;
import org.elasticsearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.AnalysisPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.rest.RestController;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.xcontent.NamedXContentRegistry;
import org.elasticsearch.xcontent.ParseField;
import org.elasticsearch.xcontent.XContentParser;
import org.elasticsearch.xpack.core.ilm.*;
import org.elasticsearch.xpack.core.ilm.action.DeleteLifecycleAction;
import org.elasticsearch.xpack.core.ilm.action.ILMActions;

/**
 * What the minimal distribution lacks and the tests need: lifecycle management, `GET /`, three analysis parts.
 *
 * Policies are parsed, validated, stored and turned into steps by x-pack-core, the vendor's own code; the runner that
 * walks from step to step and the REST layer are ours (x-pack-ilm is not on Maven Central).
 */
public final class LabPlugin extends Plugin implements ActionPlugin, AnalysisPlugin {
    private LifecycleRunner runner;
    private IndexNameExpressionResolver resolver;

    @Override
    public List<Setting<?>> getSettings() {
        return List.of(
            LifecycleSettings.LIFECYCLE_POLL_INTERVAL_SETTING,
            LifecycleSettings.LIFECYCLE_NAME_SETTING,
            LifecycleSettings.LIFECYCLE_INDEXING_COMPLETE_SETTING,
            LifecycleSettings.LIFECYCLE_HISTORY_INDEX_ENABLED_SETTING,
            LifecycleSettings.LIFECYCLE_STEP_MASTER_TIMEOUT_SETTING,
            LifecycleSettings.LIFECYCLE_STEP_WAIT_TIME_THRESHOLD_SETTING,
            LifecycleSettings.LIFECYCLE_ROLLOVER_ONLY_IF_HAS_DOCUMENTS_SETTING,
            LifecycleSettings.LIFECYCLE_SKIP_SETTING,
            RolloverAction.LIFECYCLE_ROLLOVER_ALIAS_SETTING
        );
    }

    private static NamedXContentRegistry.Entry action(
        String name,
        CheckedFunction<XContentParser, ? extends LifecycleAction, IOException> parse
    ) {
        return new NamedXContentRegistry.Entry(LifecycleAction.class, new ParseField(name), parse);
    }

    static final List<NamedXContentRegistry.Entry> NAMES = List.of(
        new NamedXContentRegistry.Entry(
            Metadata.Custom.class,
            new ParseField(IndexLifecycleMetadata.TYPE),
            p -> IndexLifecycleMetadata.PARSER.parse(p, null)
        ),
        new NamedXContentRegistry.Entry(
            Metadata.Custom.class,
            new ParseField(LifecycleOperationMetadata.TYPE),
            p -> LifecycleOperationMetadata.PARSER.parse(p, null)
        ),
        new NamedXContentRegistry.Entry(
            LifecycleType.class,
            new ParseField(TimeseriesLifecycleType.TYPE),
            (p, c) -> TimeseriesLifecycleType.INSTANCE
        ),
        action(AllocateAction.NAME, AllocateAction::parse),
        action(DeleteAction.NAME, DeleteAction::parse),
        action(ForceMergeAction.NAME, ForceMergeAction::parse),
        action(ReadOnlyAction.NAME, ReadOnlyAction::parse),
        action(RolloverAction.NAME, RolloverAction::parse),
        action(ShrinkAction.NAME, ShrinkAction::parse),
        action(SetPriorityAction.NAME, SetPriorityAction::parse),
        action(UnfollowAction.NAME, UnfollowAction::parse),
        action(WaitForSnapshotAction.NAME, WaitForSnapshotAction::parse),
        action(SearchableSnapshotAction.NAME, SearchableSnapshotAction::parse),
        action(MigrateAction.NAME, MigrateAction::parse),
        action(DownsampleAction.NAME, DownsampleAction::parse)
    );

    @Override
    public List<NamedXContentRegistry.Entry> getNamedXContent() {
        return NAMES;
    }

    @Override
    public Collection<?> createComponents(PluginServices services) {
        resolver = services.indexNameExpressionResolver();
        runner = new LifecycleRunner(services.clusterService(), services.threadPool(), services.client());
        runner.start(services.environment().settings());
        return List.of();
    }

    /** As x-pack-ilm does: an index whose name holds no date is refused while its settings ask to read one there. */
    @Override
    public void onIndexModule(IndexModule module) {
        module.addIndexEventListener(new IndexEventListener() {
            @Override
            public void beforeIndexAddedToCluster(Index index, Settings settings) {
                if (IndexLifecycleOriginationDateParser.shouldParseIndexName(settings)) {
                    IndexLifecycleOriginationDateParser.parseIndexNameAndExtractDate(index.getName());
                }
            }
        });
    }

    @Override
    public void close() {
        if (runner != null) runner.stop();
    }

    /** The vendor's names of the actions that change policies: the vendor's security decides by them who may. */
    @Override
    public Collection<ActionHandler<? extends ActionRequest, ? extends ActionResponse>> getActions() {
        return List.of(
            new ActionHandler<>(ILMActions.PUT, Permission.Put.class),
            new ActionHandler<>(DeleteLifecycleAction.INSTANCE, Permission.Delete.class)
        );
    }

    @Override
    public Collection<RestHandler> getRestHandlers(
        Settings settings,
        NamedWriteableRegistry writeables,
        RestController controller,
        ClusterSettings clusterSettings,
        IndexScopedSettings indexSettings,
        SettingsFilter filter,
        IndexNameExpressionResolver names,
        Supplier<DiscoveryNodes> nodes,
        Predicate<NodeFeature> features
    ) {
        return new Endpoints(runner, resolver).handlers();
    }

    @Override
    public Map<String, AnalysisProvider<TokenFilterFactory>> getTokenFilters() {
        return SecurityAnalysis.tokenFilters();
    }

    @Override
    public Map<String, AnalysisProvider<TokenizerFactory>> getTokenizers() {
        return SecurityAnalysis.tokenizers();
    }
}
