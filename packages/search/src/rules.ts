import { custom, defineRules, pass, refuse, type RefuseRule, type Rule } from '@tenantkit/core';
import type { Client as RawClient } from '@opensearch-project/opensearch';

/** What is done with an allowed operation; `request.ts` holds the code. */
export type Handler = 'write' | 'read' | 'remove' | 'bulk' | 'search' | 'count' | 'refresh' | 'indexExists';

/** One row: the decision, and every method and path by which the operation can be reached. */
export type Row = Rule<never, Handler> & { readonly routes: readonly string[] };

// What the client offers beside API operations. An upgrade that adds a member shows up as an operation without
// a row, and does not compile until somebody has looked at it.
type ClientMember =
  | 'connectionPool'
  | 'transport'
  | 'serializer'
  | 'extend'
  | 'helpers'
  | 'child'
  | 'close'
  | 'emit'
  | 'on'
  | 'once'
  | 'off';
type Api = Omit<RawClient, ClientMember>;
type Functions<T> = {
  [K in keyof T & string]: T[K] extends (...args: never[]) => unknown ? K : never;
}[keyof T & string];
type Namespace = Exclude<Extract<keyof Api, string>, Functions<Api>>;

/** Every operation of the client as a dotted name: `search`, `indices.refresh`. Derived from its own types. */
export type Operation = Functions<Api> | { [N in Namespace]: `${N}.${Functions<Api[N]>}` }[Namespace];

const AS_OPERATOR = 'As an operator: acrossTenants({ reason, actor }, () => …).';

const CLUSTER = refuse('it reads or changes the cluster that all tenants share', AS_OPERATOR);
const LISTS = refuse('it lists what belongs to every tenant', AS_OPERATOR);
const INDEX = refuse(
  'it reads or changes an index as a whole, which all tenants share',
  'As an operator: acrossTenants({ reason, actor }, () => …); ensureTenantMapping(client, index) adds and checks the fields that isolation needs.',
);
const SNAPSHOT = refuse('a snapshot holds the documents of every tenant', AS_OPERATOR);
const SECURITY = refuse(
  'it reads or changes users, roles and certificates of the whole cluster',
  'As an operator: acrossTenants({ reason, actor }, () => …); searchBackstop(tenant, options) prints the role of a tenant.',
);
const PLUGIN = refuse(
  'the plugin keeps what it stores in indices of its own, which know no tenant',
  AS_OPERATOR,
);
const PIPELINE = refuse(
  'a pipeline is shared by all tenants and can rewrite index, _id and fields',
  'Prepare the document in the service; as an operator: acrossTenants({ reason, actor }, () => …).',
);
const LANGUAGE = refuse(
  'a query language of its own names any index, and its filter cannot be enforced',
  'Use search with the query DSL.',
);
const TASK = refuse(
  'a task id is not sealed to a tenant, and the task list shows the requests of all',
  AS_OPERATOR,
);
const HANDLE = refuse(
  'a scroll, point-in-time or async-search id is not sealed to a tenant',
  'Page with search: a sort that ends in _id, and search_after.',
);
const BY_QUERY = refuse(
  'it changes every document that its query finds, and its query is not rewritten today',
  'Search for the ids and write them with bulk; to erase a tenant or a person use searchEraser.',
);
const UPDATE = refuse(
  'a partial document, an upsert or a script can change the fields that hold tenant and subjects, and is not rewritten today',
  'get the document and index it whole, with if_seq_no and if_primary_term.',
);
const MGET = refuse(
  'every entry can name an index, a routing and stored fields of its own, and it is not rewritten today',
  'Use get per document, or search with an ids query.',
);
const MSEARCH = refuse(
  'every header can name indices and preferences of its own, and it is not rewritten today',
  'Call search once per query; calls run side by side.',
);
const TEMPLATE = refuse(
  'a template becomes a query only on the server, after every check',
  'Fill the template in the service and call search.',
);
const SCRIPT = refuse(
  'a script reaches any field of any document, and stored scripts are shared',
  AS_OPERATOR,
);
const STATISTICS = refuse(
  'it shows term and document counts over the documents of all tenants',
  'Use search; counts of this tenant come from count and from aggregations.',
);
const RANK_EVAL = refuse(
  'it holds queries and document ids of its own, and it is not rewritten today',
  'Call search once per rated query and compute the metric in the service.',
);
const REINDEX = refuse('it copies the documents of all tenants', AS_OPERATOR);
const FIELDS = refuse(
  'it lists the fields that the documents of all tenants have created',
  'Keep the fields that the service uses in the service; as an operator: acrossTenants({ reason, actor }, () => …).',
);
const ANALYZE = refuse(
  'it is not rewritten today: it runs any analyzer of the cluster on a text of any size',
  AS_OPERATOR,
);
const STREAM = refuse(
  'its body is a stream that cannot be checked before it is sent',
  'Use bulk, or helpers.bulk for data of any size.',
);

/**
 * One row per API operation of the client. The row decides; the routes tell which raw method and path is that
 * operation, so that `client.transport.request`, `client.http.*`, the deprecated snake_case names and `extend`
 * meet the same decision. A path that matches no route is refused.
 */
export const rules = defineRules({
  bulk: handled('bulk', 'POST|PUT /{index?}/_bulk'),
  bulkStream: refused(STREAM, 'POST|PUT /{index?}/_bulk/stream'),
  clearScroll: refused(HANDLE, 'DELETE /_search/scroll/{scroll_id?}'),
  count: handled('count', 'GET|POST /{index?}/_count'),
  create: handled('write', 'POST|PUT /{index}/_create/{id}'),
  createPit: refused(HANDLE, 'POST /{index}/_search/point_in_time'),
  delete: handled('remove', 'DELETE /{index}/_doc/{id}'),
  deleteAllPits: refused(HANDLE, 'DELETE /_search/point_in_time/_all'),
  deleteByQuery: refused(BY_QUERY, 'POST /{index}/_delete_by_query'),
  deleteByQueryRethrottle: refused(TASK, 'POST /_delete_by_query/{task_id}/_rethrottle'),
  deletePit: refused(HANDLE, 'DELETE /_search/point_in_time'),
  deleteScript: refused(SCRIPT, 'DELETE /_scripts/{id}'),
  exists: handled('read', 'HEAD /{index}/_doc/{id}'),
  existsSource: handled('read', 'HEAD /{index}/_source/{id}'),
  explain: refused(STATISTICS, 'GET|POST /{index}/_explain/{id}'),
  fieldCaps: refused(FIELDS, 'GET|POST /{index?}/_field_caps'),
  get: handled('read', 'GET /{index}/_doc/{id}'),
  getAllPits: refused(HANDLE, 'GET /_search/point_in_time/_all'),
  getScript: refused(SCRIPT, 'GET /_scripts/{id}'),
  getScriptContext: refused(SCRIPT, 'GET /_script_context'),
  getScriptLanguages: refused(SCRIPT, 'GET /_script_language'),
  getSource: handled('read', 'GET /{index}/_source/{id}'),
  index: handled('write', 'POST|PUT /{index}/_doc/{id}', 'POST /{index}/_doc'),
  info: passed('it tells the name and version of the server and names nothing of a tenant', 'GET /'),
  mget: refused(MGET, 'POST /{index?}/_mget'),
  msearch: refused(MSEARCH, 'POST /{index?}/_msearch'),
  msearchTemplate: refused(TEMPLATE, 'POST /{index?}/_msearch/template'),
  mtermvectors: refused(STATISTICS, 'GET|POST /{index?}/_mtermvectors'),
  ping: passed('it names nothing', 'HEAD /'),
  putScript: refused(SCRIPT, 'PUT /_scripts/{id}/{context}', 'POST /_scripts/{id}'),
  rankEval: refused(RANK_EVAL, 'POST /{index?}/_rank_eval'),
  reindex: refused(REINDEX, 'POST /_reindex'),
  reindexRethrottle: refused(TASK, 'POST /_reindex/{task_id}/_rethrottle'),
  renderSearchTemplate: refused(TEMPLATE, 'GET|POST /_render/template/{id?}'),
  scriptsPainlessExecute: refused(SCRIPT, 'GET|POST /_scripts/painless/_execute'),
  scroll: refused(HANDLE, 'GET|POST /_search/scroll/{scroll_id?}'),
  search: handled('search', 'GET|POST /{index?}/_search'),
  searchShards: refused(CLUSTER, 'GET|POST /{index?}/_search_shards'),
  searchTemplate: refused(TEMPLATE, 'POST /{index?}/_search/template'),
  termvectors: refused(STATISTICS, 'GET|POST /{index}/_termvectors/{id?}'),
  update: refused(UPDATE, 'POST /{index}/_update/{id}'),
  updateByQuery: refused(BY_QUERY, 'POST /{index}/_update_by_query'),
  updateByQueryRethrottle: refused(TASK, 'POST /_update_by_query/{task_id}/_rethrottle'),

  // asynchronousSearch
  'asynchronousSearch.delete': refused(HANDLE, 'DELETE /_plugins/_asynchronous_search/{id}'),
  'asynchronousSearch.get': refused(HANDLE, 'GET /_plugins/_asynchronous_search/{id}'),
  'asynchronousSearch.search': refused(HANDLE, 'POST /_plugins/_asynchronous_search'),
  'asynchronousSearch.stats': refused(HANDLE, 'GET /_plugins/_asynchronous_search/stats'),

  // cat
  'cat.aliases': refused(LISTS, 'GET /_cat/aliases/{name?}'),
  'cat.allPitSegments': refused(LISTS, 'GET /_cat/pit_segments/_all'),
  'cat.allocation': refused(LISTS, 'GET /_cat/allocation/{node_id?}'),
  'cat.clusterManager': refused(LISTS, 'GET /_cat/cluster_manager'),
  'cat.count': refused(LISTS, 'GET /_cat/count/{index?}'),
  'cat.fielddata': refused(LISTS, 'GET /_cat/fielddata/{fields?}'),
  'cat.health': refused(LISTS, 'GET /_cat/health'),
  'cat.help': refused(LISTS, 'GET /_cat'),
  'cat.indices': refused(LISTS, 'GET /_cat/indices/{index?}'),
  'cat.master': refused(LISTS, 'GET /_cat/master'),
  'cat.nodeattrs': refused(LISTS, 'GET /_cat/nodeattrs'),
  'cat.nodes': refused(LISTS, 'GET /_cat/nodes'),
  'cat.pendingTasks': refused(LISTS, 'GET /_cat/pending_tasks'),
  'cat.pitSegments': refused(LISTS, 'GET /_cat/pit_segments'),
  'cat.plugins': refused(LISTS, 'GET /_cat/plugins'),
  'cat.recovery': refused(LISTS, 'GET /_cat/recovery/{index?}'),
  'cat.repositories': refused(LISTS, 'GET /_cat/repositories'),
  'cat.segmentReplication': refused(LISTS, 'GET /_cat/segment_replication/{index?}'),
  'cat.segments': refused(LISTS, 'GET /_cat/segments/{index?}'),
  'cat.shards': refused(LISTS, 'GET /_cat/shards/{index?}'),
  'cat.snapshots': refused(LISTS, 'GET /_cat/snapshots/{repository?}'),
  'cat.tasks': refused(LISTS, 'GET /_cat/tasks'),
  'cat.templates': refused(LISTS, 'GET /_cat/templates/{name?}'),
  'cat.threadPool': refused(LISTS, 'GET /_cat/thread_pool/{thread_pool_patterns?}'),

  // cluster
  'cluster.allocationExplain': refused(CLUSTER, 'GET|POST /_cluster/allocation/explain'),
  'cluster.deleteComponentTemplate': refused(CLUSTER, 'DELETE /_component_template/{name}'),
  'cluster.deleteDecommissionAwareness': refused(CLUSTER, 'DELETE /_cluster/decommission/awareness'),
  'cluster.deleteVotingConfigExclusions': refused(CLUSTER, 'DELETE /_cluster/voting_config_exclusions'),
  'cluster.deleteWeightedRouting': refused(CLUSTER, 'DELETE /_cluster/routing/awareness/weights'),
  'cluster.existsComponentTemplate': refused(CLUSTER, 'HEAD /_component_template/{name}'),
  'cluster.getComponentTemplate': refused(CLUSTER, 'GET /_component_template/{name?}'),
  'cluster.getDecommissionAwareness': refused(
    CLUSTER,
    'GET /_cluster/decommission/awareness/{awareness_attribute_name}/_status',
  ),
  'cluster.getSettings': refused(CLUSTER, 'GET /_cluster/settings'),
  'cluster.getWeightedRouting': refused(CLUSTER, 'GET /_cluster/routing/awareness/{attribute}/weights'),
  'cluster.health': refused(CLUSTER, 'GET /_cluster/health/{index?}'),
  'cluster.pendingTasks': refused(CLUSTER, 'GET /_cluster/pending_tasks'),
  'cluster.postVotingConfigExclusions': refused(CLUSTER, 'POST /_cluster/voting_config_exclusions'),
  'cluster.putComponentTemplate': refused(CLUSTER, 'POST /_component_template/{name}'),
  'cluster.putDecommissionAwareness': refused(
    CLUSTER,
    'PUT /_cluster/decommission/awareness/{awareness_attribute_name}/{awareness_attribute_value}',
  ),
  'cluster.putSettings': refused(CLUSTER, 'PUT /_cluster/settings'),
  'cluster.putWeightedRouting': refused(CLUSTER, 'PUT /_cluster/routing/awareness/{attribute}/weights'),
  'cluster.remoteInfo': refused(CLUSTER, 'GET /_remote/info'),
  'cluster.reroute': refused(CLUSTER, 'POST /_cluster/reroute'),
  'cluster.state': refused(CLUSTER, 'GET /_cluster/state/{metric?}/{index?}'),
  'cluster.stats': refused(
    CLUSTER,
    'GET /_cluster/stats/{metric}/{index_metric?}/nodes/{node_id}',
    'GET /_cluster/stats/nodes/{node_id}',
    'GET /_cluster/stats',
  ),

  // danglingIndices
  'danglingIndices.deleteDanglingIndex': refused(CLUSTER, 'DELETE /_dangling/{index_uuid}'),
  'danglingIndices.importDanglingIndex': refused(CLUSTER, 'POST /_dangling/{index_uuid}'),
  'danglingIndices.listDanglingIndices': refused(CLUSTER, 'GET /_dangling'),

  // flowFramework
  'flowFramework.create': refused(PLUGIN, 'POST /_plugins/_flow_framework/workflow'),
  'flowFramework.delete': refused(PLUGIN, 'DELETE /_plugins/_flow_framework/workflow/{workflow_id}'),
  'flowFramework.deprovision': refused(
    PLUGIN,
    'POST /_plugins/_flow_framework/workflow/{workflow_id}/_deprovision',
  ),
  'flowFramework.get': refused(PLUGIN, 'GET /_plugins/_flow_framework/workflow/{workflow_id}'),
  'flowFramework.getStatus': refused(PLUGIN, 'GET /_plugins/_flow_framework/workflow/{workflow_id}/_status'),
  'flowFramework.getSteps': refused(PLUGIN, 'GET /_plugins/_flow_framework/workflow/_steps'),
  'flowFramework.provision': refused(
    PLUGIN,
    'POST /_plugins/_flow_framework/workflow/{workflow_id}/_provision',
  ),
  'flowFramework.search': refused(PLUGIN, 'POST /_plugins/_flow_framework/workflow/_search'),
  'flowFramework.searchState': refused(PLUGIN, 'POST /_plugins/_flow_framework/workflow/state/_search'),
  'flowFramework.update': refused(PLUGIN, 'PUT /_plugins/_flow_framework/workflow/{workflow_id}'),

  // geospatial
  'geospatial.deleteIp2GeoDatasource': refused(
    PLUGIN,
    'DELETE /_plugins/geospatial/ip2geo/datasource/{name}',
  ),
  'geospatial.geojsonUploadPost': refused(PLUGIN, 'POST /_plugins/geospatial/geojson/_upload'),
  'geospatial.geojsonUploadPut': refused(PLUGIN, 'PUT /_plugins/geospatial/geojson/_upload'),
  'geospatial.getIp2GeoDatasource': refused(PLUGIN, 'GET /_plugins/geospatial/ip2geo/datasource/{name?}'),
  'geospatial.getUploadStats': refused(PLUGIN, 'GET /_plugins/geospatial/_upload/stats'),
  'geospatial.putIp2GeoDatasource': refused(PLUGIN, 'PUT /_plugins/geospatial/ip2geo/datasource/{name}'),
  'geospatial.putIp2GeoDatasourceSettings': refused(
    PLUGIN,
    'PUT /_plugins/geospatial/ip2geo/datasource/{name}/_settings',
  ),

  // http
  'http.connect': passed('the method and path decide which row holds'),
  'http.delete': passed('the method and path decide which row holds'),
  'http.get': passed('the method and path decide which row holds'),
  'http.head': passed('the method and path decide which row holds'),
  'http.options': passed('the method and path decide which row holds'),
  'http.patch': passed('the method and path decide which row holds'),
  'http.post': passed('the method and path decide which row holds'),
  'http.put': passed('the method and path decide which row holds'),
  'http.trace': passed('the method and path decide which row holds'),

  // indices
  'indices.addBlock': refused(INDEX, 'PUT /{index}/_block/{block}'),
  'indices.analyze': refused(ANALYZE, 'GET|POST /{index?}/_analyze'),
  'indices.clearCache': refused(INDEX, 'POST /{index?}/_cache/clear'),
  'indices.clone': refused(INDEX, 'POST /{index}/_clone/{target}'),
  'indices.close': refused(INDEX, 'POST /{index}/_close'),
  'indices.create': refused(INDEX, 'PUT /{index}'),
  'indices.createDataStream': refused(INDEX, 'PUT /_data_stream/{name}'),
  'indices.dataStreamsStats': refused(INDEX, 'GET /_data_stream/{name?}/_stats'),
  'indices.delete': refused(INDEX, 'DELETE /{index}'),
  'indices.deleteAlias': refused(INDEX, 'DELETE /{index}/_alias/{name}'),
  'indices.deleteDataStream': refused(INDEX, 'DELETE /_data_stream/{name}'),
  'indices.deleteIndexTemplate': refused(INDEX, 'DELETE /_index_template/{name}'),
  'indices.deleteTemplate': refused(INDEX, 'DELETE /_template/{name}'),
  'indices.exists': handled('indexExists', 'HEAD /{index}'),
  'indices.existsAlias': refused(INDEX, 'HEAD /{index?}/_alias/{name}'),
  'indices.existsIndexTemplate': refused(INDEX, 'HEAD /_index_template/{name}'),
  'indices.existsTemplate': refused(INDEX, 'HEAD /_template/{name}'),
  'indices.flush': refused(INDEX, 'GET|POST /{index?}/_flush'),
  'indices.forcemerge': refused(INDEX, 'POST /{index?}/_forcemerge'),
  'indices.get': refused(INDEX, 'GET /{index}'),
  'indices.getAlias': refused(INDEX, 'GET /{index?}/_alias/{name?}'),
  'indices.getDataStream': refused(INDEX, 'GET /_data_stream/{name?}'),
  'indices.getFieldMapping': refused(FIELDS, 'GET /{index?}/_mapping/field/{fields}'),
  'indices.getIndexTemplate': refused(INDEX, 'GET /_index_template/{name?}'),
  'indices.getMapping': refused(FIELDS, 'GET /{index?}/_mapping'),
  'indices.getSettings': refused(INDEX, 'GET /{index?}/_settings/{name?}'),
  'indices.getTemplate': refused(INDEX, 'GET /_template/{name?}'),
  'indices.getUpgrade': refused(INDEX, 'GET /{index?}/_upgrade'),
  'indices.modifyDataStream': refused(INDEX, 'POST /_data_stream/_modify'),
  'indices.open': refused(INDEX, 'POST /{index}/_open'),
  'indices.putAlias': refused(INDEX, 'PUT /{index?}/_alias/{name}', 'POST /{index?}/_alias'),
  'indices.putIndexTemplate': refused(INDEX, 'POST /_index_template/{name}'),
  'indices.putMapping': refused(INDEX, 'POST /{index}/_mapping'),
  'indices.putSettings': refused(INDEX, 'PUT /{index?}/_settings'),
  'indices.putTemplate': refused(INDEX, 'POST /_template/{name}'),
  'indices.recovery': refused(INDEX, 'GET /{index?}/_recovery'),
  'indices.refresh': handled('refresh', 'GET|POST /{index?}/_refresh'),
  'indices.resolveIndex': refused(INDEX, 'GET /_resolve/index/{name}'),
  'indices.rollover': refused(INDEX, 'POST /{alias}/_rollover/{new_index?}'),
  'indices.segments': refused(INDEX, 'GET /{index?}/_segments'),
  'indices.shardStores': refused(INDEX, 'GET /{index?}/_shard_stores'),
  'indices.shrink': refused(INDEX, 'POST /{index}/_shrink/{target}'),
  'indices.simulateIndexTemplate': refused(INDEX, 'POST /_index_template/_simulate_index/{name}'),
  'indices.simulateTemplate': refused(INDEX, 'POST /_index_template/_simulate/{name?}'),
  'indices.split': refused(INDEX, 'POST /{index}/_split/{target}'),
  'indices.stats': refused(INDEX, 'GET /{index?}/_stats/{metric?}'),
  'indices.updateAliases': refused(INDEX, 'POST /_aliases'),
  'indices.upgrade': refused(INDEX, 'POST /{index?}/_upgrade'),
  'indices.validateQuery': refused(STATISTICS, 'GET|POST /{index?}/_validate/query'),

  // ingest
  'ingest.deletePipeline': refused(PIPELINE, 'DELETE /_ingest/pipeline/{id}'),
  'ingest.getPipeline': refused(PIPELINE, 'GET /_ingest/pipeline/{id?}'),
  'ingest.processorGrok': refused(PIPELINE, 'GET /_ingest/processor/grok'),
  'ingest.putPipeline': refused(PIPELINE, 'PUT /_ingest/pipeline/{id}'),
  'ingest.simulate': refused(PIPELINE, 'POST /_ingest/pipeline/{id?}/_simulate'),

  // ingestion
  'ingestion.getState': refused(CLUSTER, 'GET /{index}/ingestion/_state'),
  'ingestion.pause': refused(CLUSTER, 'POST /{index}/ingestion/_pause'),
  'ingestion.resume': refused(CLUSTER, 'POST /{index}/ingestion/_resume'),

  // insights
  'insights.topQueries': refused(LISTS, 'GET /_insights/top_queries'),

  // ism
  'ism.addPolicy': refused(INDEX, 'POST /_plugins/_ism/add/{index?}'),
  'ism.changePolicy': refused(INDEX, 'POST /_plugins/_ism/change_policy/{index?}'),
  'ism.deletePolicy': refused(INDEX, 'DELETE /_plugins/_ism/policies/{policy_id}'),
  'ism.existsPolicy': refused(INDEX, 'HEAD /_plugins/_ism/policies/{policy_id}'),
  'ism.explainPolicy': refused(INDEX, 'GET|POST /_plugins/_ism/explain/{index?}'),
  'ism.getPolicies': refused(INDEX, 'GET /_plugins/_ism/policies'),
  'ism.getPolicy': refused(INDEX, 'GET /_plugins/_ism/policies/{policy_id}'),
  'ism.putPolicies': refused(INDEX, 'PUT /_plugins/_ism/policies'),
  'ism.putPolicy': refused(INDEX, 'PUT /_plugins/_ism/policies/{policy_id}'),
  'ism.refreshSearchAnalyzers': refused(INDEX, 'POST /_plugins/_refresh_search_analyzers/{index}'),
  'ism.removePolicy': refused(INDEX, 'POST /_plugins/_ism/remove/{index?}'),
  'ism.retryIndex': refused(INDEX, 'POST /_plugins/_ism/retry/{index?}'),

  // knn
  'knn.deleteModel': refused(PLUGIN, 'DELETE /_plugins/_knn/models/{model_id}'),
  'knn.getModel': refused(PLUGIN, 'GET /_plugins/_knn/models/{model_id}'),
  'knn.searchModels': refused(PLUGIN, 'GET|POST /_plugins/_knn/models/_search'),
  'knn.stats': refused(PLUGIN, 'GET /_plugins/_knn/{node_id?}/stats/{stat?}'),
  'knn.trainModel': refused(PLUGIN, 'POST /_plugins/_knn/models/{model_id?}/_train'),
  'knn.warmup': refused(PLUGIN, 'GET /_plugins/_knn/warmup/{index}'),

  // list
  'list.help': refused(LISTS, 'GET /_list'),
  'list.indices': refused(LISTS, 'GET /_list/indices/{index?}'),
  'list.shards': refused(LISTS, 'GET /_list/shards/{index?}'),

  // ltr
  'ltr.addFeaturesToSet': refused(PLUGIN, 'POST /_ltr/{store?}/_featureset/{name}/_addfeatures'),
  'ltr.addFeaturesToSetByQuery': refused(
    PLUGIN,
    'POST /_ltr/{store?}/_featureset/{name}/_addfeatures/{query}',
  ),
  'ltr.cacheStats': refused(PLUGIN, 'GET /_ltr/_cachestats'),
  'ltr.clearCache': refused(PLUGIN, 'POST /_ltr/{store?}/_clearcache'),
  'ltr.createDefaultStore': refused(PLUGIN, 'PUT /_ltr'),
  'ltr.createFeature': refused(PLUGIN, 'PUT /_ltr/{store?}/_feature/{id}'),
  'ltr.createFeatureset': refused(PLUGIN, 'PUT /_ltr/{store?}/_featureset/{id}'),
  'ltr.createModel': refused(PLUGIN, 'PUT /_ltr/{store?}/_model/{id}'),
  'ltr.createModelFromSet': refused(PLUGIN, 'POST /_ltr/{store?}/_featureset/{name}/_createmodel'),
  'ltr.createStore': refused(PLUGIN, 'PUT /_ltr/{store}'),
  'ltr.deleteDefaultStore': refused(PLUGIN, 'DELETE /_ltr'),
  'ltr.deleteFeature': refused(PLUGIN, 'DELETE /_ltr/{store?}/_feature/{id}'),
  'ltr.deleteFeatureset': refused(PLUGIN, 'DELETE /_ltr/{store?}/_featureset/{id}'),
  'ltr.deleteModel': refused(PLUGIN, 'DELETE /_ltr/{store?}/_model/{id}'),
  'ltr.deleteStore': refused(PLUGIN, 'DELETE /_ltr/{store}'),
  'ltr.getFeature': refused(PLUGIN, 'GET /_ltr/{store?}/_feature/{id}'),
  'ltr.getFeatureset': refused(PLUGIN, 'GET /_ltr/{store?}/_featureset/{id}'),
  'ltr.getModel': refused(PLUGIN, 'GET /_ltr/{store?}/_model/{id}'),
  'ltr.getStore': refused(PLUGIN, 'GET /_ltr/{store}'),
  'ltr.listStores': refused(PLUGIN, 'GET /_ltr'),
  'ltr.searchFeatures': refused(PLUGIN, 'GET /_ltr/{store?}/_feature'),
  'ltr.searchFeaturesets': refused(PLUGIN, 'GET /_ltr/{store?}/_featureset'),
  'ltr.searchModels': refused(PLUGIN, 'GET /_ltr/{store?}/_model'),
  'ltr.stats': refused(PLUGIN, 'GET /_plugins/_ltr/{node_id?}/stats/{stat?}'),
  'ltr.updateFeature': refused(PLUGIN, 'POST /_ltr/{store?}/_feature/{id}'),
  'ltr.updateFeatureset': refused(PLUGIN, 'POST /_ltr/{store?}/_featureset/{id}'),

  // ml
  'ml.addAgenticMemory': refused(
    PLUGIN,
    'POST /_plugins/_ml/memory_containers/{memory_container_id}/memories',
  ),
  'ml.chunkModel': refused(PLUGIN, 'POST /_plugins/_ml/models/{model_id}/chunk/{chunk_number}'),
  'ml.createConnector': refused(PLUGIN, 'POST /_plugins/_ml/connectors/_create'),
  'ml.createController': refused(PLUGIN, 'POST /_plugins/_ml/controllers/{model_id}'),
  'ml.createMemory': refused(PLUGIN, 'POST /_plugins/_ml/memory'),
  'ml.createMemoryContainer': refused(PLUGIN, 'POST /_plugins/_ml/memory_containers/_create'),
  'ml.createMemoryContainerSession': refused(
    PLUGIN,
    'POST /_plugins/_ml/memory_containers/{memory_container_id}/memories/sessions',
  ),
  'ml.createMessage': refused(PLUGIN, 'POST /_plugins/_ml/memory/{memory_id}/messages'),
  'ml.createModelMeta': refused(PLUGIN, 'POST /_plugins/_ml/models/meta'),
  'ml.deleteAgent': refused(PLUGIN, 'DELETE /_plugins/_ml/agents/{agent_id}'),
  'ml.deleteAgenticMemory': refused(
    PLUGIN,
    'DELETE /_plugins/_ml/memory_containers/{memory_container_id}/memories/{type}/{id}',
  ),
  'ml.deleteAgenticMemoryQuery': refused(
    PLUGIN,
    'POST /_plugins/_ml/memory_containers/{memory_container_id}/memories/{type}/_delete_by_query',
  ),
  'ml.deleteConnector': refused(PLUGIN, 'DELETE /_plugins/_ml/connectors/{connector_id}'),
  'ml.deleteController': refused(PLUGIN, 'DELETE /_plugins/_ml/controllers/{model_id}'),
  'ml.deleteMemory': refused(PLUGIN, 'DELETE /_plugins/_ml/memory/{memory_id}'),
  'ml.deleteMemoryContainer': refused(PLUGIN, 'DELETE /_plugins/_ml/memory_containers/{memory_container_id}'),
  'ml.deleteModel': refused(PLUGIN, 'DELETE /_plugins/_ml/models/{model_id}'),
  'ml.deleteModelGroup': refused(PLUGIN, 'DELETE /_plugins/_ml/model_groups/{model_group_id}'),
  'ml.deleteTask': refused(PLUGIN, 'DELETE /_plugins/_ml/tasks/{task_id}'),
  'ml.deployModel': refused(PLUGIN, 'POST /_plugins/_ml/models/{model_id}/_deploy'),
  'ml.executeAgent': refused(PLUGIN, 'POST /_plugins/_ml/agents/{agent_id}/_execute'),
  'ml.executeAgentStream': refused(PLUGIN, 'POST /_plugins/_ml/agents/{agent_id}/_execute/stream'),
  'ml.executeAlgorithm': refused(PLUGIN, 'POST /_plugins/_ml/_execute/{algorithm_name}'),
  'ml.executeTool': refused(PLUGIN, 'POST /_plugins/_ml/tools/_execute/{tool_name}'),
  'ml.getAgent': refused(PLUGIN, 'GET /_plugins/_ml/agents/{agent_id}'),
  'ml.getAgenticMemory': refused(
    PLUGIN,
    'GET /_plugins/_ml/memory_containers/{memory_container_id}/memories/{type}/{id}',
  ),
  'ml.getAllMemories': refused(PLUGIN, 'GET /_plugins/_ml/memory'),
  'ml.getAllMessages': refused(PLUGIN, 'GET /_plugins/_ml/memory/{memory_id}/messages'),
  'ml.getAllTools': refused(PLUGIN, 'GET /_plugins/_ml/tools'),
  'ml.getConnector': refused(PLUGIN, 'GET /_plugins/_ml/connectors/{connector_id}'),
  'ml.getController': refused(PLUGIN, 'GET /_plugins/_ml/controllers/{model_id}'),
  'ml.getMemory': refused(PLUGIN, 'GET /_plugins/_ml/memory/{memory_id}'),
  'ml.getMemoryContainer': refused(PLUGIN, 'GET /_plugins/_ml/memory_containers/{memory_container_id}'),
  'ml.getMessage': refused(PLUGIN, 'GET /_plugins/_ml/memory/message/{message_id}'),
  'ml.getMessageTraces': refused(PLUGIN, 'GET /_plugins/_ml/memory/message/{message_id}/traces'),
  'ml.getModel': refused(PLUGIN, 'GET /_plugins/_ml/models/{model_id}'),
  'ml.getModelGroup': refused(PLUGIN, 'GET /_plugins/_ml/model_groups/{model_group_id}'),
  'ml.getProfile': refused(PLUGIN, 'GET /_plugins/_ml/profile'),
  'ml.getProfileModels': refused(PLUGIN, 'GET /_plugins/_ml/profile/models/{model_id?}'),
  'ml.getProfileTasks': refused(PLUGIN, 'GET /_plugins/_ml/profile/tasks/{task_id?}'),
  'ml.getStats': refused(PLUGIN, 'GET /_plugins/_ml/{node_id?}/stats/{stat?}'),
  'ml.getTask': refused(PLUGIN, 'GET /_plugins/_ml/tasks/{task_id}'),
  'ml.getTool': refused(PLUGIN, 'GET /_plugins/_ml/tools/{tool_name}'),
  'ml.loadModel': refused(PLUGIN, 'POST /_plugins/_ml/models/{model_id}/_load'),
  'ml.predict': refused(PLUGIN, 'POST /_plugins/_ml/_predict/{algorithm_name}/{model_id}'),
  'ml.predictModel': refused(PLUGIN, 'POST /_plugins/_ml/models/{model_id}/_predict'),
  'ml.predictModelStream': refused(PLUGIN, 'POST /_plugins/_ml/models/{model_id}/_predict/stream'),
  'ml.registerAgents': refused(PLUGIN, 'POST /_plugins/_ml/agents/_register'),
  'ml.registerModel': refused(PLUGIN, 'POST /_plugins/_ml/models/_register'),
  'ml.registerModelGroup': refused(PLUGIN, 'POST /_plugins/_ml/model_groups/_register'),
  'ml.registerModelMeta': refused(PLUGIN, 'POST /_plugins/_ml/models/_register_meta'),
  'ml.searchAgenticMemory': refused(
    PLUGIN,
    'GET /_plugins/_ml/memory_containers/{memory_container_id}/memories/{type}/_search',
  ),
  'ml.searchAgents': refused(PLUGIN, 'GET|POST /_plugins/_ml/agents/_search'),
  'ml.searchConnectors': refused(PLUGIN, 'GET|POST /_plugins/_ml/connectors/_search'),
  'ml.searchMemory': refused(PLUGIN, 'GET|POST /_plugins/_ml/memory/_search'),
  'ml.searchMemoryContainer': refused(PLUGIN, 'GET|POST /_plugins/_ml/memory_containers/_search'),
  'ml.searchMessage': refused(PLUGIN, 'GET|POST /_plugins/_ml/memory/{memory_id}/_search'),
  'ml.searchModelGroup': refused(PLUGIN, 'GET|POST /_plugins/_ml/model_groups/_search'),
  'ml.searchModels': refused(PLUGIN, 'GET|POST /_plugins/_ml/models/_search'),
  'ml.searchTasks': refused(PLUGIN, 'GET|POST /_plugins/_ml/tasks/_search'),
  'ml.train': refused(PLUGIN, 'POST /_plugins/_ml/_train/{algorithm_name}'),
  'ml.trainPredict': refused(PLUGIN, 'POST /_plugins/_ml/_train_predict/{algorithm_name}'),
  'ml.undeployModel': refused(PLUGIN, 'POST /_plugins/_ml/models/{model_id?}/_undeploy'),
  'ml.unloadModel': refused(PLUGIN, 'POST /_plugins/_ml/models/{model_id?}/_unload'),
  'ml.updateAgenticMemory': refused(
    PLUGIN,
    'PUT /_plugins/_ml/memory_containers/{memory_container_id}/memories/{type}/{id}',
  ),
  'ml.updateConnector': refused(PLUGIN, 'PUT /_plugins/_ml/connectors/{connector_id}'),
  'ml.updateController': refused(PLUGIN, 'PUT /_plugins/_ml/controllers/{model_id}'),
  'ml.updateMemory': refused(PLUGIN, 'PUT /_plugins/_ml/memory/{memory_id}'),
  'ml.updateMemoryContainer': refused(PLUGIN, 'PUT /_plugins/_ml/memory_containers/{memory_container_id}'),
  'ml.updateMessage': refused(PLUGIN, 'PUT /_plugins/_ml/memory/message/{message_id}'),
  'ml.updateModel': refused(PLUGIN, 'PUT /_plugins/_ml/models/{model_id}'),
  'ml.updateModelGroup': refused(PLUGIN, 'PUT /_plugins/_ml/model_groups/{model_group_id}'),
  'ml.uploadChunk': refused(PLUGIN, 'POST /_plugins/_ml/models/{model_id}/upload_chunk/{chunk_number}'),
  'ml.uploadModel': refused(PLUGIN, 'POST /_plugins/_ml/models/_upload'),

  // neural
  'neural.stats': refused(CLUSTER, 'GET /_plugins/_neural/{node_id?}/stats/{stat?}'),

  // nodes
  'nodes.hotThreads': refused(CLUSTER, 'GET /_nodes/{node_id?}/hot_threads'),
  'nodes.info': refused(CLUSTER, 'GET /_nodes/{node_id?}/{metric?}'),
  'nodes.reloadSecureSettings': refused(CLUSTER, 'POST /_nodes/{node_id?}/reload_secure_settings'),
  'nodes.stats': refused(CLUSTER, 'GET /_nodes/{node_id?}/stats/{metric?}/{index_metric?}'),
  'nodes.usage': refused(CLUSTER, 'GET /_nodes/{node_id?}/usage/{metric?}'),

  // notifications
  'notifications.createConfig': refused(PLUGIN, 'POST /_plugins/_notifications/configs'),
  'notifications.deleteConfig': refused(PLUGIN, 'DELETE /_plugins/_notifications/configs/{config_id}'),
  'notifications.deleteConfigs': refused(PLUGIN, 'DELETE /_plugins/_notifications/configs'),
  'notifications.getConfig': refused(PLUGIN, 'GET /_plugins/_notifications/configs/{config_id}'),
  'notifications.getConfigs': refused(PLUGIN, 'GET /_plugins/_notifications/configs'),
  'notifications.listChannels': refused(PLUGIN, 'GET /_plugins/_notifications/channels'),
  'notifications.listFeatures': refused(PLUGIN, 'GET /_plugins/_notifications/features'),
  'notifications.sendTest': refused(PLUGIN, 'GET|POST /_plugins/_notifications/feature/test/{config_id}'),
  'notifications.updateConfig': refused(PLUGIN, 'PUT /_plugins/_notifications/configs/{config_id}'),

  // observability
  'observability.createObject': refused(PLUGIN, 'POST /_plugins/_observability/object'),
  'observability.deleteObject': refused(PLUGIN, 'DELETE /_plugins/_observability/object/{object_id}'),
  'observability.deleteObjects': refused(PLUGIN, 'DELETE /_plugins/_observability/object'),
  'observability.getLocalstats': refused(PLUGIN, 'GET /_plugins/_observability/_local/stats'),
  'observability.getObject': refused(PLUGIN, 'GET /_plugins/_observability/object/{object_id}'),
  'observability.listObjects': refused(PLUGIN, 'GET /_plugins/_observability/object'),
  'observability.updateObject': refused(PLUGIN, 'PUT /_plugins/_observability/object/{object_id}'),

  // ppl
  'ppl.explain': refused(LANGUAGE, 'POST /_plugins/_ppl/_explain'),
  'ppl.getStats': refused(LANGUAGE, 'GET /_plugins/_ppl/stats'),
  'ppl.postStats': refused(LANGUAGE, 'POST /_plugins/_ppl/stats'),
  'ppl.query': refused(LANGUAGE, 'POST /_plugins/_ppl'),

  // query
  'query.datasourceDelete': refused(PLUGIN, 'DELETE /_plugins/_query/_datasources/{datasource_name}'),
  'query.datasourceRetrieve': refused(PLUGIN, 'GET /_plugins/_query/_datasources/{datasource_name}'),
  'query.datasourcesCreate': refused(PLUGIN, 'POST /_plugins/_query/_datasources'),
  'query.datasourcesList': refused(PLUGIN, 'GET /_plugins/_query/_datasources'),
  'query.datasourcesUpdate': refused(PLUGIN, 'PUT /_plugins/_query/_datasources'),

  // remoteStore
  'remoteStore.restore': refused(CLUSTER, 'POST /_remotestore/_restore'),

  // replication
  'replication.autofollowStats': refused(CLUSTER, 'GET /_plugins/_replication/autofollow_stats'),
  'replication.createReplicationRule': refused(CLUSTER, 'POST /_plugins/_replication/_autofollow'),
  'replication.deleteReplicationRule': refused(CLUSTER, 'DELETE /_plugins/_replication/_autofollow'),
  'replication.followerStats': refused(CLUSTER, 'GET /_plugins/_replication/follower_stats'),
  'replication.leaderStats': refused(CLUSTER, 'GET /_plugins/_replication/leader_stats'),
  'replication.pause': refused(CLUSTER, 'POST /_plugins/_replication/{index}/_pause'),
  'replication.resume': refused(CLUSTER, 'POST /_plugins/_replication/{index}/_resume'),
  'replication.start': refused(CLUSTER, 'PUT /_plugins/_replication/{index}/_start'),
  'replication.status': refused(CLUSTER, 'GET /_plugins/_replication/{index}/_status'),
  'replication.stop': refused(CLUSTER, 'POST /_plugins/_replication/{index}/_stop'),
  'replication.updateSettings': refused(CLUSTER, 'PUT /_plugins/_replication/{index}/_update'),

  // rollups
  'rollups.delete': refused(INDEX, 'DELETE /_plugins/_rollup/jobs/{id}'),
  'rollups.explain': refused(INDEX, 'GET /_plugins/_rollup/jobs/{id}/_explain'),
  'rollups.get': refused(INDEX, 'GET /_plugins/_rollup/jobs/{id}'),
  'rollups.put': refused(INDEX, 'PUT /_plugins/_rollup/jobs/{id}'),
  'rollups.start': refused(INDEX, 'POST /_plugins/_rollup/jobs/{id}/_start'),
  'rollups.stop': refused(INDEX, 'POST /_plugins/_rollup/jobs/{id}/_stop'),

  // searchPipeline
  'searchPipeline.delete': refused(PIPELINE, 'DELETE /_search/pipeline/{id}'),
  'searchPipeline.get': refused(PIPELINE, 'GET /_search/pipeline/{id?}'),
  'searchPipeline.put': refused(PIPELINE, 'PUT /_search/pipeline/{id}'),

  // searchRelevance
  'searchRelevance.deleteExperiments': refused(
    PLUGIN,
    'DELETE /_plugins/_search_relevance/experiments/{experiment_id}',
  ),
  'searchRelevance.deleteJudgments': refused(
    PLUGIN,
    'DELETE /_plugins/_search_relevance/judgments/{judgment_id}',
  ),
  'searchRelevance.deleteQuerySets': refused(
    PLUGIN,
    'DELETE /_plugins/_search_relevance/query_sets/{query_set_id}',
  ),
  'searchRelevance.deleteScheduledExperiments': refused(
    PLUGIN,
    'DELETE /_plugins/_search_relevance/experiments/schedule/{experiment_id}',
  ),
  'searchRelevance.deleteSearchConfigurations': refused(
    PLUGIN,
    'DELETE /_plugins/_search_relevance/search_configurations/{search_configuration_id}',
  ),
  'searchRelevance.experimentsSearch': refused(
    PLUGIN,
    'GET|POST /_plugins/_search_relevance/experiments/_search',
  ),
  'searchRelevance.getExperiments': refused(
    PLUGIN,
    'GET /_plugins/_search_relevance/experiments/{experiment_id?}',
  ),
  'searchRelevance.getJudgments': refused(PLUGIN, 'GET /_plugins/_search_relevance/judgments/{judgment_id?}'),
  'searchRelevance.getNodeStats': refused(PLUGIN, 'GET /_plugins/_search_relevance/{node_id}/stats/{stat?}'),
  'searchRelevance.getQuerySets': refused(
    PLUGIN,
    'GET /_plugins/_search_relevance/query_sets/{query_set_id?}',
  ),
  'searchRelevance.getScheduledExperiments': refused(
    PLUGIN,
    'GET /_plugins/_search_relevance/experiments/schedule/{experiment_id?}',
  ),
  'searchRelevance.getSearchConfigurations': refused(
    PLUGIN,
    'GET /_plugins/_search_relevance/search_configurations/{search_configuration_id?}',
  ),
  'searchRelevance.getStats': refused(PLUGIN, 'GET /_plugins/_search_relevance/stats/{stat?}'),
  'searchRelevance.judgmentsSearch': refused(
    PLUGIN,
    'GET|POST /_plugins/_search_relevance/judgments/_search',
  ),
  'searchRelevance.postQuerySets': refused(PLUGIN, 'POST /_plugins/_search_relevance/query_sets'),
  'searchRelevance.postScheduledExperiments': refused(
    PLUGIN,
    'POST /_plugins/_search_relevance/experiments/schedule',
  ),
  'searchRelevance.putExperiments': refused(PLUGIN, 'PUT /_plugins/_search_relevance/experiments'),
  'searchRelevance.putJudgments': refused(PLUGIN, 'PUT /_plugins/_search_relevance/judgments'),
  'searchRelevance.putQuerySets': refused(PLUGIN, 'PUT /_plugins/_search_relevance/query_sets'),
  'searchRelevance.putSearchConfigurations': refused(
    PLUGIN,
    'PUT /_plugins/_search_relevance/search_configurations',
  ),
  'searchRelevance.querySetsSearch': refused(
    PLUGIN,
    'GET|POST /_plugins/_search_relevance/query_sets/_search',
  ),
  'searchRelevance.searchConfigurationsSearch': refused(
    PLUGIN,
    'GET|POST /_plugins/_search_relevance/search_configurations/_search',
  ),

  // security
  'security.authinfo': refused(SECURITY, 'GET|POST /_plugins/_security/authinfo'),
  'security.authtoken': refused(SECURITY, 'POST /_plugins/_security/api/authtoken'),
  'security.changePassword': refused(SECURITY, 'PUT /_plugins/_security/api/account'),
  'security.configUpgradeCheck': refused(SECURITY, 'GET /_plugins/_security/api/_upgrade_check'),
  'security.configUpgradePerform': refused(SECURITY, 'POST /_plugins/_security/api/_upgrade_perform'),
  'security.createActionGroup': refused(SECURITY, 'PUT /_plugins/_security/api/actiongroups/{action_group}'),
  'security.createAllowlist': refused(SECURITY, 'PUT /_plugins/_security/api/allowlist'),
  'security.createRole': refused(SECURITY, 'PUT /_plugins/_security/api/roles/{role}'),
  'security.createRoleMapping': refused(SECURITY, 'PUT /_plugins/_security/api/rolesmapping/{role}'),
  'security.createTenant': refused(SECURITY, 'PUT /_plugins/_security/api/tenants/{tenant}'),
  'security.createUpdateTenancyConfig': refused(SECURITY, 'PUT /_plugins/_security/api/tenancy/config'),
  'security.createUser': refused(SECURITY, 'PUT /_plugins/_security/api/internalusers/{username}'),
  'security.createUserLegacy': refused(SECURITY, 'PUT /_plugins/_security/api/user/{username}'),
  'security.deleteActionGroup': refused(
    SECURITY,
    'DELETE /_plugins/_security/api/actiongroups/{action_group}',
  ),
  'security.deleteDistinguishedName': refused(
    SECURITY,
    'DELETE /_plugins/_security/api/nodesdn/{cluster_name}',
  ),
  'security.deleteRole': refused(SECURITY, 'DELETE /_plugins/_security/api/roles/{role}'),
  'security.deleteRoleMapping': refused(SECURITY, 'DELETE /_plugins/_security/api/rolesmapping/{role}'),
  'security.deleteTenant': refused(SECURITY, 'DELETE /_plugins/_security/api/tenants/{tenant}'),
  'security.deleteUser': refused(SECURITY, 'DELETE /_plugins/_security/api/internalusers/{username}'),
  'security.deleteUserLegacy': refused(SECURITY, 'DELETE /_plugins/_security/api/user/{username}'),
  'security.flushCache': refused(SECURITY, 'DELETE /_plugins/_security/api/cache'),
  'security.generateOboToken': refused(SECURITY, 'POST /_plugins/_security/api/generateonbehalfoftoken'),
  'security.generateUserToken': refused(
    SECURITY,
    'POST /_plugins/_security/api/internalusers/{username}/authtoken',
  ),
  'security.generateUserTokenLegacy': refused(
    SECURITY,
    'POST /_plugins/_security/api/user/{username}/authtoken',
  ),
  'security.getAccountDetails': refused(SECURITY, 'GET /_plugins/_security/api/account'),
  'security.getActionGroup': refused(SECURITY, 'GET /_plugins/_security/api/actiongroups/{action_group}'),
  'security.getActionGroups': refused(SECURITY, 'GET /_plugins/_security/api/actiongroups'),
  'security.getAllCertificates': refused(SECURITY, 'GET /_plugins/_security/api/certificates'),
  'security.getAllowlist': refused(SECURITY, 'GET /_plugins/_security/api/allowlist'),
  'security.getAuditConfiguration': refused(SECURITY, 'GET /_plugins/_security/api/audit'),
  'security.getCertificates': refused(SECURITY, 'GET /_plugins/_security/api/ssl/certs'),
  'security.getConfiguration': refused(SECURITY, 'GET /_plugins/_security/api/securityconfig'),
  'security.getDashboardsInfo': refused(SECURITY, 'GET /_plugins/_security/dashboardsinfo'),
  'security.getDistinguishedName': refused(SECURITY, 'GET /_plugins/_security/api/nodesdn/{cluster_name}'),
  'security.getDistinguishedNames': refused(SECURITY, 'GET /_plugins/_security/api/nodesdn'),
  'security.getNodeCertificates': refused(SECURITY, 'GET /_plugins/_security/api/certificates/{node_id}'),
  'security.getPermissionsInfo': refused(SECURITY, 'GET /_plugins/_security/api/permissionsinfo'),
  'security.getRole': refused(SECURITY, 'GET /_plugins/_security/api/roles/{role}'),
  'security.getRoleMapping': refused(SECURITY, 'GET /_plugins/_security/api/rolesmapping/{role}'),
  'security.getRoleMappings': refused(SECURITY, 'GET /_plugins/_security/api/rolesmapping'),
  'security.getRoles': refused(SECURITY, 'GET /_plugins/_security/api/roles'),
  'security.getSslinfo': refused(SECURITY, 'GET /_opendistro/_security/sslinfo'),
  'security.getTenancyConfig': refused(SECURITY, 'GET /_plugins/_security/api/tenancy/config'),
  'security.getTenant': refused(SECURITY, 'GET /_plugins/_security/api/tenants/{tenant}'),
  'security.getTenants': refused(SECURITY, 'GET /_plugins/_security/api/tenants'),
  'security.getUser': refused(SECURITY, 'GET /_plugins/_security/api/internalusers/{username}'),
  'security.getUserLegacy': refused(SECURITY, 'GET /_plugins/_security/api/user/{username}'),
  'security.getUsers': refused(SECURITY, 'GET /_plugins/_security/api/internalusers'),
  'security.getUsersLegacy': refused(SECURITY, 'GET /_plugins/_security/api/user'),
  'security.health': refused(SECURITY, 'GET|POST /_plugins/_security/health'),
  'security.migrate': refused(SECURITY, 'POST /_plugins/_security/api/migrate'),
  'security.patchActionGroup': refused(SECURITY, 'PATCH /_plugins/_security/api/actiongroups/{action_group}'),
  'security.patchActionGroups': refused(SECURITY, 'PATCH /_plugins/_security/api/actiongroups'),
  'security.patchAllowlist': refused(SECURITY, 'PATCH /_plugins/_security/api/allowlist'),
  'security.patchAuditConfiguration': refused(SECURITY, 'PATCH /_plugins/_security/api/audit'),
  'security.patchConfiguration': refused(SECURITY, 'PATCH /_plugins/_security/api/securityconfig'),
  'security.patchDistinguishedName': refused(
    SECURITY,
    'PATCH /_plugins/_security/api/nodesdn/{cluster_name}',
  ),
  'security.patchDistinguishedNames': refused(SECURITY, 'PATCH /_plugins/_security/api/nodesdn'),
  'security.patchRole': refused(SECURITY, 'PATCH /_plugins/_security/api/roles/{role}'),
  'security.patchRoleMapping': refused(SECURITY, 'PATCH /_plugins/_security/api/rolesmapping/{role}'),
  'security.patchRoleMappings': refused(SECURITY, 'PATCH /_plugins/_security/api/rolesmapping'),
  'security.patchRoles': refused(SECURITY, 'PATCH /_plugins/_security/api/roles'),
  'security.patchTenant': refused(SECURITY, 'PATCH /_plugins/_security/api/tenants/{tenant}'),
  'security.patchTenants': refused(SECURITY, 'PATCH /_plugins/_security/api/tenants'),
  'security.patchUser': refused(SECURITY, 'PATCH /_plugins/_security/api/internalusers/{username}'),
  'security.patchUsers': refused(SECURITY, 'PATCH /_plugins/_security/api/internalusers'),
  'security.postDashboardsInfo': refused(SECURITY, 'POST /_plugins/_security/dashboardsinfo'),
  'security.reloadHttpCertificates': refused(SECURITY, 'PUT /_plugins/_security/api/ssl/http/reloadcerts'),
  'security.reloadTransportCertificates': refused(
    SECURITY,
    'PUT /_plugins/_security/api/ssl/transport/reloadcerts',
  ),
  'security.tenantInfo': refused(SECURITY, 'GET|POST /_plugins/_security/tenantinfo'),
  'security.updateAuditConfiguration': refused(SECURITY, 'PUT /_plugins/_security/api/audit/config'),
  'security.updateConfiguration': refused(SECURITY, 'PUT /_plugins/_security/api/securityconfig/config'),
  'security.updateDistinguishedName': refused(SECURITY, 'PUT /_plugins/_security/api/nodesdn/{cluster_name}'),
  'security.validate': refused(SECURITY, 'GET /_plugins/_security/api/validate'),
  'security.whoAmI': refused(SECURITY, 'GET|POST /_plugins/_security/whoami'),
  'security.whoAmIProtected': refused(SECURITY, 'GET /_plugins/_security/whoamiprotected'),

  // securityAnalytics
  'securityAnalytics.getAlerts': refused(PLUGIN, 'GET /_plugins/_security_analytics/alerts'),
  'securityAnalytics.getFindings': refused(PLUGIN, 'GET /_plugins/_security_analytics/findings/_search'),
  'securityAnalytics.searchFindingCorrelations': refused(
    PLUGIN,
    'GET /_plugins/_security_analytics/findings/correlate',
  ),

  // sm
  'sm.createPolicy': refused(SNAPSHOT, 'POST /_plugins/_sm/policies/{policy_name}'),
  'sm.deletePolicy': refused(SNAPSHOT, 'DELETE /_plugins/_sm/policies/{policy_name}'),
  'sm.explainPolicy': refused(SNAPSHOT, 'GET /_plugins/_sm/policies/{policy_name}/_explain'),
  'sm.getPolicies': refused(SNAPSHOT, 'GET /_plugins/_sm/policies'),
  'sm.getPolicy': refused(SNAPSHOT, 'GET /_plugins/_sm/policies/{policy_name}'),
  'sm.startPolicy': refused(SNAPSHOT, 'POST /_plugins/_sm/policies/{policy_name}/_start'),
  'sm.stopPolicy': refused(SNAPSHOT, 'POST /_plugins/_sm/policies/{policy_name}/_stop'),
  'sm.updatePolicy': refused(SNAPSHOT, 'PUT /_plugins/_sm/policies/{policy_name}'),

  // snapshot
  'snapshot.cleanupRepository': refused(SNAPSHOT, 'POST /_snapshot/{repository}/_cleanup'),
  'snapshot.clone': refused(SNAPSHOT, 'PUT /_snapshot/{repository}/{snapshot}/_clone/{target_snapshot}'),
  'snapshot.create': refused(SNAPSHOT, 'POST /_snapshot/{repository}/{snapshot}'),
  'snapshot.createRepository': refused(SNAPSHOT, 'POST /_snapshot/{repository}'),
  'snapshot.delete': refused(SNAPSHOT, 'DELETE /_snapshot/{repository}/{snapshot}'),
  'snapshot.deleteRepository': refused(SNAPSHOT, 'DELETE /_snapshot/{repository}'),
  'snapshot.get': refused(SNAPSHOT, 'GET /_snapshot/{repository}/{snapshot}'),
  'snapshot.getRepository': refused(SNAPSHOT, 'GET /_snapshot/{repository?}'),
  'snapshot.restore': refused(SNAPSHOT, 'POST /_snapshot/{repository}/{snapshot}/_restore'),
  'snapshot.status': refused(SNAPSHOT, 'GET /_snapshot/{repository?}/{snapshot?}/_status'),
  'snapshot.verifyRepository': refused(SNAPSHOT, 'POST /_snapshot/{repository}/_verify'),

  // sql
  'sql.close': refused(LANGUAGE, 'POST /_plugins/_sql/close'),
  'sql.explain': refused(LANGUAGE, 'POST /_plugins/_sql/_explain'),
  'sql.getStats': refused(LANGUAGE, 'GET /_plugins/_sql/stats'),
  'sql.postStats': refused(LANGUAGE, 'POST /_plugins/_sql/stats'),
  'sql.query': refused(LANGUAGE, 'POST /_plugins/_sql'),
  'sql.settings': refused(LANGUAGE, 'PUT /_plugins/_query/settings'),

  // tasks
  'tasks.cancel': refused(TASK, 'POST /_tasks/{task_id?}/_cancel'),
  'tasks.delete': refused(TASK, 'DELETE /_tasks/{task_id}'),
  'tasks.get': refused(TASK, 'GET /_tasks/{task_id}'),
  'tasks.list': refused(TASK, 'GET /_tasks'),

  // transforms
  'transforms.delete': refused(INDEX, 'DELETE /_plugins/_transform/{id}'),
  'transforms.explain': refused(INDEX, 'GET /_plugins/_transform/{id}/_explain'),
  'transforms.get': refused(INDEX, 'GET /_plugins/_transform/{id}'),
  'transforms.preview': refused(INDEX, 'POST /_plugins/_transform/_preview'),
  'transforms.put': refused(INDEX, 'PUT /_plugins/_transform/{id}'),
  'transforms.search': refused(INDEX, 'GET /_plugins/_transform'),
  'transforms.start': refused(INDEX, 'POST /_plugins/_transform/{id}/_start'),
  'transforms.stop': refused(INDEX, 'POST /_plugins/_transform/{id}/_stop'),

  // ubi
  'ubi.initialize': refused(PLUGIN, 'POST /_plugins/ubi/initialize'),

  // wlm
  'wlm.createQueryGroup': refused(CLUSTER, 'PUT /_wlm/query_group'),
  'wlm.deleteQueryGroup': refused(CLUSTER, 'DELETE /_wlm/query_group/{name}'),
  'wlm.getQueryGroup': refused(CLUSTER, 'GET /_wlm/query_group/{name?}'),
  'wlm.updateQueryGroup': refused(CLUSTER, 'PUT /_wlm/query_group/{name}'),
} satisfies Readonly<Record<Operation, Row>>);

function handled(handler: Handler, ...routes: readonly string[]): Row {
  return { ...custom(handler), routes };
}

function passed(why: string, ...routes: readonly string[]): Row {
  return { ...pass(why), routes };
}

function refused(rule: RefuseRule, ...routes: readonly string[]): Row {
  return { ...rule, routes };
}
